"""A persistent cache of remote files in sparse backing files. Synchronous; knows no network.

Use::

    cache = Cache.bind(Path("/var/cache/somewhere"))
    volume = cache.volume(b"//server/share")
    file, found = volume.open(b"id:17", size, coherency=b"whatever proves it unchanged")
    if not file.read(0, buffer):            # verified, or False
        ...fetch into buffer...
        file.write(0, buffer)
    file.close()

Layers, each importing only those before it: ``errors``, ``key``, ``coherency``, ``contentmap``,
``extents``, ``faults`` (pure), ``backing`` (the syscalls), ``object`` (one file), ``volume`` (a
directory of them), ``probe`` and ``cache`` (the bound directory).

On disk, all integers little-endian::

    DIR/                      0700, owned by the user of the process
      lock                    flock(LOCK_EX) while bound
      version                 b"cachefiles 1\\n"
      volumes.LABEL           volumes of another format, set aside
      volumes/HHHH...         a volume: XXH3-128 of its key, 32 hex digits
                              xattr user.cachefiles.volume = its key, at most 512 bytes
        hh/hhHHHH...          backing file: XXH3-128 of the object's key, below its first 2 digits
                              byte N is byte N of the remote file; what is not stored is a hole
                              xattr user.cachefiles.object = record, see ``coherency.py``
        hh/hhHHHH....map       content map: bytes 8 i to 8 i + 7 are the XXH3-64 of block i
                              (64 KiB, the last one short), 0 for a block that is not stored;
                              seed (XXH3-64 of both keys with their lengths and the record)
                              + i * 0x9E3779B97F4A7C15 mod 2^64

Why no crash, power loss, bridged zero or flipped byte can give a wrong byte. A read returns bytes
only if for every block the hash of the very bytes read, under the seed of this key, this
generation (the whole record) and this block number, equals the map's entry.

- An entry is only ever made from bytes that the caller handed in as that block of that
  generation. So an entry and bytes that agree *are* that block, whatever the disk wrote first and
  whichever of the two files a power loss set back. All else is an entry that does not agree with
  its bytes: zeros that a filesystem bridged into a hole, half an old and half a new
  write, a flipped byte in either file, an entry torn in two. That reads as "not stored", and
  the next fill repairs it. Chance agreement: 2^-64 a block.
- Files of another generation or key cannot take part: their entries carry another seed. The record
  has a checksum and is set before the first byte; without a good one the files are unlinked.
- SEEK_DATA and the map say what is *worth* reading. Neither is trusted for what is right. So the
  filesystem may also turn blocks of zeros into holes; they then read as not stored.
- Hence nothing is ever synced (the version file apart): durability would cost and prove nothing.
- The kernel's page cache outlives the process: after ``kill -9`` at most the block in hand is lost.

The one assumption is the caller's: equal coherency data stands for equal content.
"""

from cachefiles.cache import Cache
from cachefiles.contentmap import BLOCK
from cachefiles.cull import Culler, Step
from cachefiles.errors import CacheBusy, CacheDead, CacheError, CacheUnusable, NoSpace
from cachefiles.faults import Faults
from cachefiles.key import file_name
from cachefiles.limits import Limits
from cachefiles.object import Object, Verify
from cachefiles.volume import Found, Volume

__all__ = [
    "BLOCK",
    "Cache",
    "CacheBusy",
    "CacheDead",
    "CacheError",
    "CacheUnusable",
    "Culler",
    "Faults",
    "Found",
    "Limits",
    "NoSpace",
    "Object",
    "Step",
    "Verify",
    "Volume",
    "file_name",
]
