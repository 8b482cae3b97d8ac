"""What may be believed: ``watches`` on directories, ``opened`` (files that were opened)."""
