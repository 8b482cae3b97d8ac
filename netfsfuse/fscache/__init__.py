"""The persistent cache as the helper library sees it: ``CacheOps`` over ``cachefiles``.

``cookie`` (pure) makes keys and coherency bytes of what the server says, ``health`` (pure) judges
errors, ``threads`` is the one place where blocking file I/O goes to threads, ``batch`` joins what
can go together, ``file`` is one cached file, ``tending`` syncs and culls, ``io`` is the cache, and
``binding`` finds and binds the directory. May import ``netfsfuse.netfs`` (its interface), the leaf
modules and ``cachefiles``.

Invariant: nothing here raises into a read. A cache that fails says "not stored".
"""

from netfsfuse.fscache.binding import default_directory, limits_of, open_cache
from netfsfuse.fscache.io import FsCache

__all__ = ["FsCache", "default_directory", "limits_of", "open_cache"]
