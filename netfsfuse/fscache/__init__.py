"""The persistent cache as the helper library sees it: ``CacheOps`` over ``cachefiles``.

* ``cookie``       keys and coherency bytes of what the server says (pure)
* ``health``       judges errors: whether the cache is to be used now (pure)
* ``threads``      the one place where blocking file I/O goes to threads
* ``batch``        joins transfers of one file that can go together
* ``small``        a small file that is being written, in memory (pure)
* ``whole``        small files, stored and found whole, many at once
* ``turns``        calls on ranges of a file, one after another where they overlap
* ``file``         one cached file, read and stored
* ``changes``      and changed
* ``maintenance``  syncs, culls, notes what is used
* ``io``           the cache of one mount: ``FsCache``
* ``binding``      finds and binds the directory
* ``backing``      a stored file, found from outside of the mount
* ``command``      ``netfsfuse cache``

May import ``netfsfuse.netfs`` (its interface), the leaf modules and ``cachefiles``.

Invariant: nothing here raises into a read. A cache that fails says "not stored".
"""

from netfsfuse.fscache.binding import default_directory, limits_of, open_cache
from netfsfuse.fscache.io import FsCache

__all__ = ["FsCache", "default_directory", "limits_of", "open_cache"]
