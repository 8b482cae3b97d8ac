"""netfs: the helper library that reads a network file for FUSE, through memory, cache and server.

It knows two interfaces (``ops.py``: a server's file, a cache's object) and nothing of SMB, FUSE,
paths or disks. Imports only leaves (``errors``, ``types``, ``config``, ``stats``, ``tasks``,
``priority_gate``) and trio.

Four rooms. ``memory/`` holds bytes: buffers, the pool of them, folios, and which folio has which
block; it knows nothing of I/O. ``io/`` fills folios: a subrequest is the I/O, from a source, over
one folio. ``read/`` answers a handle, ``write/`` takes what programs write to the server. Each
imports only what stands before it, and those two not each other. ``readahead/`` is the policy,
PURE, and imports none of them.

A read, stage by stage (names as in Linux fs/netfs)::

    read/read.py           runs the stages in order; the only orchestrator
    read/read_request.py   one read under way: its pieces made one answer
    read/read_through.py   for a retired inode: straight from the server, nothing kept
    read/fetch_ahead.py    what should be on its way ahead of a handle, issued as buffers go
    io/occupancy.py        pure   what the cache said it has, remembered
    io/slicing.py          pure   expand to cache blocks, cut by source: memory, cache, server
    io/issue.py            one task a subrequest: cache or server into one folio; short reads
    io/pace.py             how much is on the link at once
    io/collect.py          pure   judges an answer: done, ask for the rest, short, storable
    io/copy_to_cache.py    stores what came from the server, behind the readers

A write::

    write/write.py          takes bytes, truncates, drains; the only orchestrator
    write/dirty.py          pure   ranges in buffers: dirty, being sent, gone
    write/errseq.py         pure   each failure told once to each handle
    write/writeback.py      what is sent when; one task a file, and one a request
    write/write_request.py  one folio sent, and the folio of the mapping that it becomes
    write/overlay.py        reads of a file that has dirty bytes
    write/outlet.py         memory for dirty bytes and the link, which all files share
    io/cache_changes.py     keeps the cache object true meanwhile

and what they stand on::

    service.py             Netfs, one per mount
    inode.py               NetfsInode, what the handles of one file share; resize, retire, close
    ops.py                 the interfaces of a server's file and a cache's object
    demand.py              how much a request is wanted, for the server's queue as well
    io/contents.py         an inode's state: size, mapping, occupancy, liveness, prefill
    io/request.py          Subrequest, its states; the source of bytes
    io/slow_cache.py       a cache that hangs is passed by
    memory/mapping.py      block -> folio
    memory/folio.py        a folio, its states and its references
    memory/buffer.py       a buffer: headroom, page-aligned payload, references
    memory/pool.py         the pool of them: budget, eviction, back pressure

Invariants
    * A block in the mapping is never fetched again: a read that wants it joins.
    * A read is short only at the end of file, and never has later bytes glued on after a gap.
    * Only whole folios are kept or stored, and only while the inode is live.
    * Bytes that the server does not have are never evicted, and are read before what it has.
    * No two WRITEs under way overlap; no block is stored while a WRITE to it is under way.
    * The cache may fail, lie or hang; the read does not.
    * Memory is bounded by the budget, whatever the file sizes, and no read waits for ever
      (the argument is that of ``memory/pool.py``).

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
