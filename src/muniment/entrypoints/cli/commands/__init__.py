"""One module for each command; it is imported only when its command runs."""
