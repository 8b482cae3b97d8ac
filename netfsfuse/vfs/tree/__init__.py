"""Names: ``names``, ``listings``, ``former_names``, ``links``, ``aliases``, ``relisting``."""
