"""A persistent cache of remote files in sparse backing files. Synchronous; knows no network.

Use::

    cache = Cache.bind(Path("/var/cache/somewhere"))
    volume = cache.volume(b"//server/share")
    file, found = volume.open(b"id:17", size, coherency=b"whatever proves it unchanged")
    if not file.read(0, buffer):            # verified, or False
        ...fetch into buffer...
        file.write(0, buffer)
    file.close()

Files, each importing only those before it; pure up to ``faults``, and but for ``admin`` nothing
imports more than the standard library and ``xxhash``:

* ``errors``       what goes wrong, by what it means for the cache
* ``key``          names of files and identities of objects
* ``extents``      ranges of bytes and blocks
* ``coherency``    the record: which version of a remote file
* ``contentmap``   a hash for each block
* ``generation``   which blocks may be trusted together; the header
* ``limits``       how much may be taken: percentages and bytes
* ``recency``      the last use of each part of a large file
* ``verified``     which blocks proved right and did not change since
* ``faults``       failures on purpose, for tests
* ``transfers``    the calls that move bytes
* ``backing``      all other calls on the filesystem
* ``turn``         locks between processes
* ``datafile``     the data of one file: direct or through the page cache
* ``blocks``       one pair of open files: found, proved, stored and struck
* ``space``        how much is taken, counted for all processes
* ``object``       one cached file of one generation: how long its files are used
* ``changing``     one whose file is being changed
* ``graveyard``    what is buried, until its bytes are free
* ``folder``       the directory of a volume
* ``charge``       the bytes of an object that is perhaps made
* ``opened``       its objects that are open: found, made, let go
* ``changes``      files that come to stand for another version
* ``volume``       its objects by their keys
* ``walk``         all objects, one after another
* ``probe``        whether a directory can hold a cache
* ``cache``        the bound directory
* ``cull``         makes room
* ``admin``        the administrator's command; ``__main__`` runs it

Any number of processes of one user may bind a directory at once; ``folder.py`` says how they keep
out of each other's way. A process that binds it should let a :class:`Culler` work now and then, and
call :meth:`Cache.sync` where a power loss should cost little.

On disk, all integers little-endian::

    DIR/                      0700, owned by the user of the process
      lock                    flock(LOCK_SH) while bound; LOCK_EX while it is made
      space                   the count of what the cache takes, see ``space.py``
      cull                    flock(LOCK_EX) by the culler at work
      version                 b"cachefiles 2\\n"
      graveyard/              what is buried and perhaps in use, see ``graveyard.py``
      volumes.LABEL           volumes of another format, set aside
      volumes/HHHH...         a volume: XXH3-128 of its key, 32 hex digits
                              flock(LOCK_EX) while names are made, removed or looked up
                              xattr user.cachefiles.volume = its key, at most 512 bytes
        hh/hhHHHH...          backing file: XXH3-128 of the object's key, below its first 2 digits
                              byte N is byte N of the remote file; what is not stored is a hole
                              xattr user.cachefiles.object = header: the record (``coherency.py``)
                              and the generation number (``generation.py``)
                              xattr user.cachefiles.path = where it is on its share, for people
                              xattr user.cachefiles.pinned, if it must not be culled
                              access time: the last use; flock(LOCK_SH) while it is open
        hh/hhHHHH....map       content map: bytes 8 i to 8 i + 7 are the XXH3-64 of block i
                              (64 KiB, the last one short), 0 for a block that is not stored;
                              seed (XXH3-64 of both keys, their lengths and the generation number)
                              + i * 0x9E3779B97F4A7C15 mod 2^64
                              behind them, from the next multiple of 4096 on: the last use of each
                              4 MiB, see ``recency.py``

Why no crash, power loss, bridged zero or flipped byte can give a wrong byte. A read returns bytes
only if for every block the hash of the very bytes read, under the seed of this key, this
generation's number and this block number, equals the map's entry; and an object is opened only if
the record in its header is the one that the caller asks for.

- An entry is only ever made from bytes that the caller handed in as that block of that
  generation. So an entry and bytes that agree *are* that block, whatever the disk wrote first and
  whichever of the two files a power loss set back. All else is an entry that does not agree with
  its bytes: zeros that a filesystem bridged into a hole, half an old and half a new
  write, a flipped byte in either file, an entry torn in two. That reads as "not stored", and
  the next fill repairs it. Chance agreement: 2^-64 a block.
- Files of another generation or key cannot take part: their entries carry another seed. A number
  is 64 random bits, drawn whenever files are made. The header has a checksum and is set before the
  first byte; without a good one the files are buried.
- A restamp puts another record into the header of the same generation. Before that, every entry of
  a block that differs between the two is struck and the map synced, with no other call, mount or
  process on the files, and none that holds old bytes can store them afterwards (its object is
  retired). So whenever the new record can be on the disk, also after a power loss, no entry of an
  old block is; whatever is stored after it is the new version's. The exchange itself is one
  setxattr: the old header or the new. A crash before it leaves the old record with entries of
  blocks that both versions share, and the server no longer says what that record says: a refetch.
- SEEK_DATA and the map say what is *worth* reading. Neither is trusted for what is right. So the
  filesystem may also turn blocks of zeros into holes; they then read as not stored.
- Hence no order of writes is needed on any filesystem. ext4 (ordered), XFS and btrfs may commit an
  entry before its data, or the reverse: with ext4 and XFS what lies in an extent that was allocated
  and not written reads as zeros, with btrfs the old extent stays; neither fits the entry. tmpfs
  keeps nothing over a power loss and loses nothing before. What is synced (:meth:`Cache.sync`) is
  synced so that much is left, not so that it is right.
- Culling strikes entries first and punches then; a reader between the two finds a hash that does
  not fit, and what is stored meanwhile is undone by the punch and found out in the same way.
- The kernel's page cache outlives the process: after ``kill -9`` at most the block in hand is lost.
- ``verify=open`` hashes a block again unless nothing changed the inode since it proved right;
  ``verify=never`` gives all this up, and is for a filesystem that checksums by itself.

The assumptions are the caller's: equal coherency data stands for equal content, and a restamp names
every range that changed.
"""

from cachefiles.blocks import Verify
from cachefiles.cache import Cache
from cachefiles.changing import ChangingObject
from cachefiles.contentmap import BLOCK
from cachefiles.cull import Culler, Step
from cachefiles.errors import CacheBusy, CacheDead, CacheError, CacheUnusable, NoSpace
from cachefiles.faults import Faults
from cachefiles.key import file_name
from cachefiles.limits import Limits
from cachefiles.object import Object
from cachefiles.volume import Found, Volume

__all__ = [
    "BLOCK",
    "Cache",
    "CacheBusy",
    "CacheDead",
    "CacheError",
    "CacheUnusable",
    "ChangingObject",
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
