"""The one place that picks adapters: from a home and its settings to the parts of an archive or a service."""
