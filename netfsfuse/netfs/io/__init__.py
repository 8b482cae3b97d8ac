"""I/O over folios, from a source, with a reason. Imports ``memory``, ``readahead`` and ``ops``.

``contents``       what the mount holds of one file: size, mapping, occupancy, liveness
``occupancy``      PURE: what the cache said it has, remembered
``slicing``        PURE: which blocks a read needs, and where each run of them comes from
``request``        a subrequest: the filling of one folio
``issue``          runs subrequests, each a task: cache or server, short reads, misses
``collect``        PURE: what to do with what a source returned
``pace``           how much is on the link at once
``copy_to_cache``  stores what came from the server
``cache_changes``  the cache object of a file that is written
``slow_cache``     cache operations that take too long
"""
