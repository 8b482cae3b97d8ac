"""The two interfaces that the helper library calls: a server's files and a cache's objects.

netfs owns them; ``smb`` and ``fscache`` fit them without being known here. Another network
filesystem becomes a user of the library by implementing :class:`ServerFile`.
"""

from __future__ import annotations

from typing import Protocol

from netfsfuse.netfs.demand import Demand
from netfsfuse.netfs.memory.buffer import Buffer
from netfsfuse.types import ByteRange


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
        """Store whole blocks (the last one of the file may be short). False when not stored:
        no room, an I/O error, or the object was invalidated meanwhile.
        """
        ...

    async def aclose(self) -> None:
        """Let the object go. Idempotent, shielded from cancellation by the implementation."""
        ...
