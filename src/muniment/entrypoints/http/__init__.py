"""The HTTP API: everything that the command line can do, for several organisations on one deployment."""
