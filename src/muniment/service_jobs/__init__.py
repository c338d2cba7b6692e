"""The work that a service does in the background for its organisations: the handlers of jobs, one module for what belongs together."""
