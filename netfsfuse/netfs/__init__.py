"""netfs: the helper library that reads a network file for FUSE, through memory, cache and server.

It knows two interfaces (``ops.py``: a server's file, a cache's object) and nothing of SMB, FUSE,
paths or disks. Imports only ``errors``, ``types``, ``config``, ``stats`` and trio.

A read, stage by stage (names as in Linux fs/netfs)::

    read.py           runs the stages in order; the only orchestrator
    read_through.py   for a retired inode: straight from the server, nothing kept
    fetch_ahead.py    what should be on its way ahead of a handle, issued as buffers go
    readahead/        pure   the policy: streams told apart, the link measured, windows shared
    demand.py         how much a request is wanted, for whoever queues it
    occupancy.py      pure   what the cache said it has, remembered
    slicing.py        pure   expand to cache blocks, cut by source: memory, cache, server
    issue.py          one task a subrequest: cache or server into one buffer; short reads, misses
    collect.py        pure   judges an answer: done, ask for the rest, short, storable
    copy_to_cache.py  stores what came from the server, behind the readers

and what they stand on::

    service.py        Netfs, one per mount
    inode.py          NetfsInode, what the handles of one file share; retire, close
    contents.py       its state: table, occupancy, liveness
    inflight.py       block -> subrequest
    request.py        Subrequest, its states and its references
    buffer.py         a buffer: headroom, page-aligned payload, references
    pool.py           the pool of them: budget, eviction, back pressure
    watch.py          a cache that hangs is passed by

Invariants
    * A block in the table is never fetched again: whoever wants it joins.
    * A read is short only at the end of file, and never has later bytes glued on after a gap.
    * Only whole subrequests are kept or stored, and only while the inode is live.
    * The cache may fail, lie or hang; the read does not.
    * Memory is bounded by the budget, whatever the file sizes; see ``pool.py`` for why nobody
      waits for ever.

Task ownership: everything runs on one trio loop. Subrequests, cache queries and stores are tasks of
the service nursery given to :class:`Netfs`, because readers share them; nothing but cancellation
leaves them. A reader's own task only waits. Readahead belongs to its handle and ends with it.
"""

from netfsfuse.netfs.inode import NetfsInode
from netfsfuse.netfs.memory.buffer import PAGE, Buffer
from netfsfuse.netfs.memory.pool import BufferPool
from netfsfuse.netfs.ops import CacheObject, ServerFile
from netfsfuse.netfs.read.read import NetfsFile
from netfsfuse.netfs.service import Netfs

__all__ = [
    "PAGE",
    "Buffer",
    "BufferPool",
    "CacheObject",
    "Netfs",
    "NetfsFile",
    "NetfsInode",
    "ServerFile",
]
