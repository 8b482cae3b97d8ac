"""Which blocks are stored, and the hash that proves each: the side file of a backing file. Pure.

Theory. Extents alone do not prove presence: an extent filesystem may bridge a small hole with
zeros, a power loss may keep a file's size and lose its bytes, a disk may rot. So the side file
holds for block i, at offset 8 i, a little-endian XXH3-64 of exactly the bytes stored, seeded by
the generation's seed (``generation.py``) and i. Entry 0 is "not stored"; a hash that happens to be
0 is kept as 1. The seed covers key and generation, so neither an entry nor a block left over from
another file, another generation or another place in this one fits, whatever mixture a crash leaves
of both files.

The side file is sparse: nothing stored costs nothing, whatever the size of the file. What is asked
for is read and what is touched is written, each in one call, and never the whole. Behind the
entries lie the stamps of ``recency.py``.
"""

from __future__ import annotations

import struct
from collections.abc import Callable, Iterable, Sequence

import xxhash

BLOCK = 64 * 1024
"""Bytes that one entry speaks for. On disk: changing it needs another format version."""

ENTRY = 8

_MASK = 2**64 - 1
_STRIDE = 0x9E3779B97F4A7C15  # odd, so that distinct block numbers give distinct seeds

Load = Callable[[int, memoryview], int]
"""(offset, target) -> bytes read into target; fewer than asked at the end of the side file."""
Store = Callable[[int, bytes], None]
"""(offset, entries): write all of it."""


def block_count(size: int) -> int:
    """Blocks of a file of ``size`` bytes."""
    return -(-size // BLOCK)


def block_hashes(seed: int, first: int, data: memoryview) -> list[int]:
    """The entries for ``data``, which begins at block ``first``; the last block may be short."""
    return [
        xxhash.xxh3_64_intdigest(data[at : at + BLOCK], (seed + number * _STRIDE) & _MASK) or 1
        for number, at in enumerate(range(0, len(data), BLOCK), start=first)
    ]


class ContentMap:
    """The entries of one object in its side file.

    Nothing is kept in memory: other processes store and cull in the same file, and the kernel's
    page cache is the one copy that all of them see. Errors of ``load`` and ``store`` pass through.
    """

    __slots__ = ("_load", "_store")

    def __init__(self, load: Load, store: Store) -> None:
        self._load = load
        self._store = store

    def entries(self, first: int, count: int) -> list[int]:
        """The entries of ``count`` blocks from ``first`` on; 0 for a block that is not stored."""
        raw = bytearray(count * ENTRY)
        got = self._load(first * ENTRY, memoryview(raw))
        if got % ENTRY:  # a torn entry at the end of a damaged side file
            raw[got - got % ENTRY :] = bytes(len(raw) - got + got % ENTRY)
        return list(struct.unpack(f"<{count}Q", raw))

    def put(self, first: int, hashes: Sequence[int]) -> None:
        """Say that the blocks from ``first`` on are stored. Their data is already written."""
        self._store(first * ENTRY, struct.pack(f"<{len(hashes)}Q", *hashes))

    def clear(self, first: int, count: int) -> None:
        """Say that ``count`` blocks from ``first`` on are not stored."""
        self._store(first * ENTRY, bytes(count * ENTRY))

    def clear_if(self, wrong: Iterable[tuple[int, int]]) -> None:
        """Say of each (block, entry) that it is not stored, unless its entry is another by now."""
        for number, entry in wrong:
            if self.entries(number, 1) == [entry]:
                self.clear(number, 1)
