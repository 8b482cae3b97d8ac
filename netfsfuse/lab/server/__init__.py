"""A throw-away server: ``samba`` configures and owns it, ``smbd`` runs the program, ``data`` makes
what it serves. Imports leaves alone."""
