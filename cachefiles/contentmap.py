"""Which blocks are stored, and the hash that proves each: the side file of a backing file. Pure.

Theory. Extents alone do not prove presence: an extent filesystem may bridge a small hole with
zeros, a power loss may keep a file's size and lose its bytes, a disk may rot. So the side file
holds for block i, at offset 8 i, a little-endian XXH3-64 of exactly the bytes stored, seeded by
:func:`seed_of` and i. Entry 0 is "not stored"; a hash that happens to be 0 is kept as 1. The seed
covers key and generation, so neither an entry nor a block left over from another file, another
generation or another place in this one fits, whatever mixture a crash leaves of both files.

The side file is sparse: nothing stored costs nothing, whatever the size of the file. It is read
by pages of 512 entries (4 KiB, 32 MiB of data) and never as a whole; :class:`ContentMap` keeps the
last few pages. It is written by entries, the touched ones in one call.
"""

from __future__ import annotations

import struct
from collections import OrderedDict
from collections.abc import Callable, Iterable, Sequence

import xxhash

BLOCK = 64 * 1024
"""Bytes that one entry speaks for. On disk: changing it needs another format version."""

ENTRY = 8
PAGE_ENTRIES = 512
PAGES_KEPT = 8
"""Per open object: 256 MiB of a file around its readers for at most 32 KiB of memory."""

_MASK = 2**64 - 1
_STRIDE = 0x9E3779B97F4A7C15  # odd, so that distinct block numbers give distinct seeds

Load = Callable[[int, memoryview], int]
"""(offset, target) -> bytes read into target; fewer than asked at the end of the side file."""
Store = Callable[[int, bytes], None]
"""(offset, entries): write all of it."""


def block_count(size: int) -> int:
    """Blocks of a file of ``size`` bytes."""
    return -(-size // BLOCK)


def seed_of(volume_key: bytes, object_key: bytes, record: bytes) -> int:
    """The seed for one generation of one object; ``record`` is its encoded coherency record."""
    digest = xxhash.xxh3_64(struct.pack("<QQ", len(volume_key), len(object_key)))
    digest.update(volume_key)
    digest.update(object_key)
    digest.update(record)
    return digest.intdigest()


def block_hashes(seed: int, first: int, data: memoryview) -> list[int]:
    """The entries for ``data``, which begins at block ``first``; the last block may be short."""
    return [
        xxhash.xxh3_64_intdigest(data[at : at + BLOCK], (seed + number * _STRIDE) & _MASK) or 1
        for number, at in enumerate(range(0, len(data), BLOCK), start=first)
    ]


class ContentMap:
    """The entries of one object, through a small page cache. The caller holds the object's lock.

    ``fresh`` says that the side file was just made: pages never stored are then known to be zero
    without asking. Errors of ``load`` and ``store`` pass through; after a failed :meth:`put` the
    entries in memory are the old ones, after a failed :meth:`clear` they are cleared.
    """

    def __init__(self, size: int, load: Load, store: Store, *, fresh: bool) -> None:
        self._blocks = block_count(size)
        self._load = load
        self._store = store
        self._written_to: int | None = 0 if fresh else None  # side file's end; None: unknown
        self._pages: OrderedDict[int, bytearray] = OrderedDict()

    def entries(self, first: int, count: int) -> list[int]:
        """The entries of ``count`` blocks from ``first`` on; 0 for a block that is not stored."""
        found: list[int] = []
        end = first + count
        while first < end:
            index, slot = divmod(first, PAGE_ENTRIES)
            here = min(PAGE_ENTRIES - slot, end - first)
            found += struct.unpack_from(f"<{here}Q", self._page(index), slot * ENTRY)
            first += here
        return found

    def kept(self, first: int, count: int) -> list[int] | None:
        """As :meth:`entries`, from the pages in memory alone; None where one is not there."""
        pages = range(first // PAGE_ENTRIES, (first + count - 1) // PAGE_ENTRIES + 1)
        return self.entries(first, count) if all(page in self._pages for page in pages) else None

    def put(self, first: int, hashes: Sequence[int]) -> None:
        """Say that the blocks from ``first`` on are stored. Their data is already written."""
        raw = struct.pack(f"<{len(hashes)}Q", *hashes)
        offset = first * ENTRY
        self._store(offset, raw)
        if self._written_to is not None:
            self._written_to = max(self._written_to, offset + len(raw))
        self._remember(first, raw)

    def clear(self, blocks: Iterable[int]) -> None:
        """Say that ``blocks`` are not stored."""
        empty = bytes(ENTRY)
        numbers = list(blocks)
        for number in numbers:
            self._remember(number, empty)
        for number in numbers:
            self._store(number * ENTRY, empty)

    def _remember(self, first: int, raw: bytes) -> None:
        at = 0
        while at < len(raw):
            index, slot = divmod(first + at // ENTRY, PAGE_ENTRIES)
            here = min((PAGE_ENTRIES - slot) * ENTRY, len(raw) - at)
            page = self._pages.get(index)
            if page is not None:
                page[slot * ENTRY : slot * ENTRY + here] = raw[at : at + here]
            at += here

    def _page(self, index: int) -> bytearray:
        page = self._pages.get(index)
        if page is not None:
            self._pages.move_to_end(index)
            return page
        offset = index * PAGE_ENTRIES * ENTRY
        page = bytearray(min(PAGE_ENTRIES, self._blocks - index * PAGE_ENTRIES) * ENTRY)
        if self._written_to is None or offset < self._written_to:
            got = self._load(offset, memoryview(page))
            if got % ENTRY:  # a torn entry at the end of a damaged side file
                page[got - got % ENTRY :] = bytes(len(page) - got + got % ENTRY)
        self._pages[index] = page
        if len(self._pages) > PAGES_KEPT:
            self._pages.popitem(last=False)
        return page
