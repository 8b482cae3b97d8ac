"""Open files: ``files`` (the calls), ``holding`` (handles for what stays open), ``closings``."""
