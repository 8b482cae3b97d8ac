"""Reads: ``read`` (the orchestrator), ``read_through``, ``fetch_ahead``."""
