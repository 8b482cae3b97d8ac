"""PURE: which blocks a read needs, and where each run of them comes from.

A read is expanded to whole cache blocks, because only whole blocks can be stored, and cut at the
end of file, because nothing is there. The result is cut where the source changes, and what must be
fetched is cut on a grid of requests besides: at ``phase`` and every ``request_size`` from there, so
that the requests of a sequential reader coincide with what it asks for.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import NamedTuple, Protocol

from netfsfuse.netfs.io.request import Source
from netfsfuse.types import CACHE_BLOCK, ByteRange


class Resident(Protocol):
    """What is in memory, or on its way there, up to byte ``end`` of the file."""

    @property
    def end(self) -> int: ...


class Slice(NamedTuple):
    """``length`` bytes from ``start`` come from ``source``; ``why`` is for the log."""

    source: Source
    start: int
    length: int
    why: str


def expand(wanted: ByteRange, i_size: int) -> ByteRange:
    """``wanted`` grown to cache blocks and cut at the end of file; empty at or past it."""
    start = wanted.start - wanted.start % CACHE_BLOCK
    end = min(-(-wanted.end // CACHE_BLOCK) * CACHE_BLOCK, i_size)
    return (
        ByteRange(start, end) if wanted.start < min(wanted.end, i_size) else ByteRange(start, start)
    )


def gaps(whole: ByteRange, parts: Iterable[ByteRange]) -> list[ByteRange]:
    """``whole`` without ``parts``, which are sorted, disjoint and inside it."""
    left = []
    position = whole.start
    for part in parts:
        left.append(ByteRange(position, part.start))
        position = part.end
    left.append(ByteRange(position, whole.end))
    return [gap for gap in left if gap.start < gap.end]


def slice_range(
    wanted: ByteRange,
    *,
    i_size: int,
    request_size: int,
    phase: int,
    cache_size: int,
    resident: Callable[[int], Resident | None],
    stored: Callable[[int], bool] | None,
) -> list[Slice]:
    """Cut ``wanted`` by source: contiguous, in order, covering all its blocks up to i_size.

    Requests to the server are cut at ``phase + k * request_size``, reads of the cache at
    ``phase + k * cache_size``; all in bytes, multiples of a block.

    ``resident(block)``: the folio that holds that block, or None. Asked for each block, so it
    should be as cheap as a dictionary's ``get``.
    ``stored(block)``: whether the cache says that it has the block; None: there is no cache to ask.
    A last slice ``EOF`` stands for whatever of ``wanted`` lies past i_size.
    """
    slices: list[Slice] = []
    position, end = expand(wanted, i_size)
    while position < end:
        block = position // CACHE_BLOCK
        there = resident(block)
        if there is not None:
            stop = min(there.end, end)
            slices.append(Slice(Source.MEMORY, position, stop - position, "in memory or in flight"))
            position = stop
            continue
        hit = stored is not None and stored(block)
        size = cache_size if hit else request_size
        limit = min(end, position + size - (position - phase) % size)
        stop = position + CACHE_BLOCK
        while stop < limit:
            block = stop // CACHE_BLOCK
            if resident(block) is not None or (stored is not None and hit != stored(block)):
                break
            stop += CACHE_BLOCK
        stop = min(stop, limit)
        source = Source.CACHE if hit else Source.SERVER
        why = "stored" if hit else "no cache" if stored is None else "not stored"
        slices.append(Slice(source, position, stop - position, why))
        position = stop
    past = max(wanted.start, i_size)
    if past < wanted.end:
        slices.append(Slice(Source.EOF, past, wanted.end - past, "past end of file"))
    return slices
