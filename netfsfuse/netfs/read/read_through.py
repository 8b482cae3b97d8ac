"""Reading past everything we hold: for a file of which nothing may be kept.

A retired inode's handles read so (``inode.py``): each through its own ``ServerFile``, up to where
the server says that the file ends, and nothing enters memory or cache.
"""

from __future__ import annotations

from netfsfuse.netfs.demand import Demand
from netfsfuse.netfs.io.collect import Verdict, assess
from netfsfuse.netfs.io.issue import Issuer
from netfsfuse.netfs.memory.buffer import Buffer
from netfsfuse.netfs.ops import ServerFile

Answer = memoryview | bytes
"""What a read returns: a lent slice of a buffer, a joined copy, or b"" at the end of file."""


async def read_through(issuer: Issuer, file: ServerFile, start: int, size: int) -> Answer:
    """The bytes of ``[start, start + size)``; short only at the server's end of file."""
    joined: bytearray | None = None
    position, end = start, start + size
    while position < end:
        length = min(end - position, issuer.rsize)
        buffer = await issuer.pool.acquire(length)
        try:
            received = await _read_once(file, position, length, buffer)
            if joined is None and (received < length or position + received == end):
                return buffer.lend(0, received) if received else b""
            joined = bytearray() if joined is None else joined
            joined += buffer.payload[:received]
        finally:
            buffer.drop()
        position += received
        if received < length:
            break
    if joined is None:
        return b""
    issuer.stats.application.joined += 1
    return memoryview(joined)


async def _read_once(file: ServerFile, start: int, length: int, buffer: Buffer) -> int:
    """Fill ``buffer`` from the server; fewer bytes than ``length`` only at its end of file."""
    received = 0
    while received < length:
        count = await file.read(
            start + received, length - received, buffer, received, demand=Demand(urgent=True)
        )
        if assess(length, received, count) is Verdict.SHORT:
            break
        received += count
    return received
