"""The two interfaces that the helper library calls: a server's files and a cache's objects.

netfs owns them; ``smb`` and ``fscache`` fit them without being known here. Another network
filesystem becomes a user of the library by implementing :class:`ServerFile`.
"""

from __future__ import annotations

from typing import Protocol

from netfsfuse.netfs.demand import Demand
from netfsfuse.netfs.memory.buffer import Buffer
from netfsfuse.types import ByteRange, FileAttr


class ServerFile(Protocol):
    """One open file on the server. Any number of reads may be in flight at once."""

    async def read(
        self, start: int, length: int, buffer: Buffer, at: int, *, demand: Demand
    ) -> int:
        """Read ``[start, start + length)`` into ``buffer.payload[at : at + length]``.

        Returns the bytes received: fewer than ``length`` is a short read (the rest may be asked
        again), 0 means that ``start`` is at or past the end of file. ``demand`` says whether a
        reader waits for it, so that it goes before those that no reader waits for; it may be raised
        while the request queues, and is told (``sent``) when the request is on the wire.

        The implementation may scribble on, and must then restore, the bytes of the buffer just
        below and above the target (headroom, tailroom). If the call is cancelled the server may
        still answer later: the implementation then keeps its own reference (``buffer.hold``) until
        nothing can be received into it any more.

        Raises a ``NetfsError``; ``Stale`` when the file is not the one that was opened.
        """
        ...


class WritableFile(ServerFile, Protocol):
    """One open file on the server that may be written. Calls may overlap as reads do; the caller
    never has two writes of overlapping ranges under way."""

    async def write(
        self, start: int, length: int, buffer: Buffer, at: int, *, demand: Demand
    ) -> int:
        """Write ``buffer.payload[at : at + length]`` to ``[start, start + length)``.

        Returns how many bytes the server took, at least one: the rest may be sent again. The caller
        holds the buffer and leaves those bytes as they are until this returns; the implementation
        may scribble on, and must then restore, the bytes just below and above them. If the call is
        cancelled the server may still get them: the implementation then keeps its own reference
        (``buffer.hold``) until nothing is read from it any more.

        Raises a ``NetfsError``, such as ``DiskFull``, ``QuotaExceeded`` or ``AccessDenied``. After
        ``Disconnected`` the server may or may not have the bytes.
        """
        ...

    async def flush(self) -> None:
        """Return when all that was written is on the server's disk, as far as it says so. Raises a
        ``NetfsError``."""
        ...

    async def set_size(self, size: int) -> None:
        """Cut the file at ``size`` bytes, or extend it with zeros. Raises a ``NetfsError``."""
        ...


class CacheObject(Protocol):
    """One cached file, opened under one coherency record. Errors are its own affair.

    All offsets handed in are multiples of ``CACHE_BLOCK``; lengths are too, except in the last
    block of the file. No method raises but for cancellation: a cache that fails says "not stored".
    """

    async def query_occupancy(self, start: int, end: int) -> list[ByteRange]:
        """Which parts of ``[start, end)`` are stored: sorted, disjoint, block-aligned, the last
        one cut at the file's size. May be wrong later: ``read`` has the last word.
        """
        ...

    async def read(self, start: int, target: memoryview) -> bool:
        """Fill ``target`` with the verified bytes from ``start``; False if any block is not there
        or not right, and ``target`` is then undefined.
        """
        ...

    async def write(self, start: int, data: memoryview) -> bool:
        """Store whole blocks (the last one of the file may be short), also in place of those that
        are stored. Of two overlapping ones the one called last remains. False when not stored: no
        room, an I/O error, or the object was invalidated meanwhile.
        """
        ...

    async def begin_changes(self) -> bool:
        """The file is about to be changed by us. To be awaited before the first request that
        overwrites, cuts or extends it; from then on until ``restamp`` what is stored is valid for
        this object only, and what a crash leaves of it is never used. Other objects of the same
        file find and store nothing any more. False: it cannot be, and the object is over; its owner
        goes on without.
        """
        ...

    async def discard(self, start: int, end: int) -> bool:
        """The blocks of ``[start, end)`` are not the file's content any more. When it returns none
        of them is stored, nor by a ``write`` that was called before. False: the object is over."""
        ...

    async def resize(self, size: int) -> bool:
        """The file has ``size`` bytes now: cut there, or extended with what is not stored. A last
        block that ended at the old size is discarded. False: the object is over."""
        ...

    async def restamp(self, attr: FileAttr) -> bool:
        """The server's file is ``attr`` now, and all that is stored and was not discarded is its
        content. It is found again under ``attr``, by any opener; the object goes on as one that was
        acquired so. To be called when no change is under way, and no store. False: the object is
        over and nothing of it is found again.
        """
        ...

    async def aclose(self) -> None:
        """Let the object go. Idempotent, shielded from cancellation by the implementation. After
        ``begin_changes`` without ``restamp`` nothing of it is found again."""
        ...
