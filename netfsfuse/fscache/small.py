"""The content of a small file that is being written, held in memory until it is whole. Pure.

An object of its own costs a new small file some twenty calls and two hops to a thread. Held here,
it is stored at the writer's end along with others (``whole.py``), and its record is the final one.
"""

from __future__ import annotations

from netfsfuse.types import CACHE_BLOCK, ByteRange

SMALL_MAX = CACHE_BLOCK
"""Bytes: a file of one block."""


class SmallContent:
    """At most one block, the first of a file of ``size`` bytes; none to begin with."""

    __slots__ = ("_data", "size")

    def __init__(self, size: int) -> None:
        self.size = size
        self._data: bytes | None = None

    @property
    def data(self) -> bytes | None:
        """The first block, as far as the file goes, if it is held."""
        return self._data

    def occupancy(self) -> list[ByteRange]:
        """What is held, in bytes."""
        return [ByteRange(0, len(self._data))] if self._data else []

    def read(self, start: int, target: memoryview) -> bool:
        """Fill ``target`` from ``start``; False, and it is as it was, where that is not held."""
        if self._data is None or start + len(target) > len(self._data):
            return False
        target[:] = self._data[start : start + len(target)]
        return True

    def write(self, start: int, data: memoryview) -> bool:
        """Hold a copy of ``data`` if it is the whole first block; whether it is held."""
        if start or not 0 < len(data) == min(self.size, SMALL_MAX):
            return False
        self._data = bytes(data)
        return True

    def discard(self) -> None:
        """The first block is not the file's content any more."""
        self._data = None

    def resize(self, size: int) -> None:
        """The file has ``size`` bytes now."""
        if self._data is not None and len(self._data) != min(size, SMALL_MAX):
            self._data = None
        self.size = size

    def whole(self, size: int) -> bytes | None:
        """All of the file, if it has ``size`` bytes and they are held."""
        return self._data if self.size == size and size <= SMALL_MAX else None
