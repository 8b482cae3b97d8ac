"""Subrequests: ``request``, ``slicing``, ``issue``, ``collect``, ``pace``, ``copy_to_cache``,
``occupancy``, ``contents``, ``slow_cache``."""
