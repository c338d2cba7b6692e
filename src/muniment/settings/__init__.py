"""Settings of archives and services."""
