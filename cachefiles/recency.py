"""When which part of a large object was last used: stamps behind its map's entries.

A whole object's last use is its backing file's access time, which we set ourselves. An object
larger than ``SEGMENT`` is culled by segments, so each has a stamp of its own: 8 bytes, nanoseconds
since the epoch, little-endian, 0 for never, at :func:`stamps_at` + 8 * segment. They decide what
goes first and nothing else: a lost or damaged one costs a fetch at most, so none is ever synced.

In memory the last stamps, ``KEPT`` of them. A segment in use is stamped again after
``GRANULARITY``; a long sequential read then costs one write of 8 bytes for each 4 MiB.
"""

from __future__ import annotations

import struct
from collections.abc import Callable
from threading import Lock

from cachefiles.contentmap import BLOCK, ENTRY, block_count

SEGMENT = 4 * 1024 * 1024
"""Bytes: what is culled at once of a large object."""

GRANULARITY = 10 * 10**9
"""Nanoseconds between two stamps of one segment."""

KEPT = 1024
_PAGE = 4096


def stamps_at(size: int) -> int:
    """Where in the side file of a file of ``size`` bytes its stamps begin: on a page."""
    return -(-block_count(size) * ENTRY // _PAGE) * _PAGE


def segment_blocks(segment: int, size: int) -> tuple[int, int]:
    """First block and number of blocks of ``segment``."""
    first = segment * (SEGMENT // BLOCK)
    return first, min(SEGMENT // BLOCK, block_count(size) - first)


class Recency:
    """The stamps of one open object. Safe to use from several threads.

    ``store(offset, bytes)`` writes to the side file; its errors pass through.
    """

    __slots__ = ("_due", "_lock", "_size", "_store", "_written")

    def __init__(self, size: int, store: Callable[[int, bytes], None]) -> None:
        self._size = size
        self._store = store
        self._lock = Lock()
        self._written: dict[int, int] = {}
        self._due: dict[int, int] = {}

    def note(self, start: int, end: int, now: int) -> None:
        """``[start, end)`` is used at ``now``. No I/O."""
        if self._size <= SEGMENT:
            return
        with self._lock:
            for segment in range(start // SEGMENT, -(-end // SEGMENT)):
                if now - self._written.get(segment, 0) >= GRANULARITY and len(self._due) < KEPT:
                    self._due[segment] = now

    def flush(self) -> None:
        """Write what was noted; no call where there is nothing new."""
        if not self._due:
            return
        with self._lock:
            due, self._due = self._due, {}
            if len(self._written) + len(due) > KEPT:
                self._written.clear()
            self._written |= due
        for segment, when in due.items():
            self._store(stamps_at(self._size) + segment * 8, struct.pack("<Q", when))
