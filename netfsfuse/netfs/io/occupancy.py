"""PURE: what the cache said it has, remembered, so that most reads need not ask it.

Asking costs a thread hop (50-100 us), so the cache is asked for a whole span of 32 MiB (one page of
its content map) at once. The answers are hints: a block wrongly thought stored turns into a server
read when the cache cannot deliver it, one wrongly thought missing is fetched once more.

Memory is bounded: ``MAX_SPANS`` spans a file, 64 bytes of bits each.
"""

from __future__ import annotations

from collections.abc import Iterable

from netfsfuse.types import CACHE_BLOCK, ByteRange

SPAN_BLOCKS = 512
SPAN = SPAN_BLOCKS * CACHE_BLOCK

MAX_SPANS = 256
"""Spans remembered for one file: 8 GiB of it, about 40 KiB of memory at most."""


def bits(blocks: ByteRange) -> int:
    """The bits of block numbers ``[start, end)`` within a span."""
    return (1 << blocks.end) - (1 << blocks.start)


class OccupancyMap:
    """Bit n of span s: block ``s * SPAN_BLOCKS + n`` is stored."""

    def __init__(self) -> None:
        self._spans: dict[int, int] = {}  # in order of learning, oldest first
        self._asked: dict[int, int] = {}  # spans being asked for -> blocks stored meanwhile

    def unknown(self, wanted: ByteRange) -> list[int]:
        """The spans that ``wanted`` (bytes) touches and that nothing is known of."""
        spans = range(wanted.start // SPAN, -(-wanted.end // SPAN))
        return [span for span in spans if span not in self._spans]

    def is_known(self, block: int) -> bool:
        """Whether the cache has been asked about ``block``."""
        return block // SPAN_BLOCKS in self._spans

    def is_stored(self, block: int) -> bool:
        """Whether the cache is thought to have ``block``; False if it was not asked."""
        span, bit = divmod(block, SPAN_BLOCKS)
        return bool(self._spans.get(span, 0) >> bit & 1)

    def asking(self, span: int) -> None:
        """The cache is being asked about ``span``: note what is stored from now on."""
        self._asked[span] = 0

    def learn(self, span: int, stored: Iterable[ByteRange]) -> None:
        """Take the cache's answer for ``span`` (ranges in bytes, of the file)."""
        mask = self._asked.pop(span, 0)
        first = span * SPAN_BLOCKS
        for part in stored:
            start = max(part.start // CACHE_BLOCK - first, 0)
            end = min(-(-part.end // CACHE_BLOCK) - first, SPAN_BLOCKS)
            if start < end:
                mask |= bits(ByteRange(start, end))
        self._spans.pop(span, None)
        while len(self._spans) >= MAX_SPANS:
            del self._spans[next(iter(self._spans))]
        self._spans[span] = mask

    def note(self, start: int, end: int, *, stored: bool) -> None:
        """Bytes ``[start, end)`` were stored just now, or turned out not to be."""
        position = start // CACHE_BLOCK
        last = -(-end // CACHE_BLOCK)
        while position < last:
            span, bit = divmod(position, SPAN_BLOCKS)
            count = min(last - position, SPAN_BLOCKS - bit)
            mask = bits(ByteRange(bit, bit + count))
            for table in (self._spans, self._asked):
                if span in table:
                    table[span] = table[span] | mask if stored else table[span] & ~mask
            position += count
