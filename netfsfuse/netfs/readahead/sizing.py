"""How large a request should be: a few milliseconds of the link.

A request that is on the wire cannot be overtaken, so its length is what a small read of another
reader waits: 1 ms is not felt, and 16 ms (2 MiB on 1 Gbit/s) a person can feel. A smaller one costs
more of the CPU for each byte: the whole mount spends 0.63 s of user time a GiB with 1 MiB and 0.37
with 4 MiB (measured). On a fast link the CPU is the bottleneck, so there that decides the rate.
"""

from __future__ import annotations

from netfsfuse.netfs.readahead.config import AheadConfig
from netfsfuse.types import CACHE_BLOCK

OCCUPANCY = 1e-3
"""Seconds that one request may occupy a slow link: a few are always under way, and an open
meanwhile waits for them three times."""

ROUND_TRIP_SHARE = 0.1
"""A tenth more of a long round trip is not felt, and small requests cost CPU: at 50 ms and 53 MB/s
64 KiB each cost 8 s a GiB (measured)."""

FAST_OCCUPANCY = 8e-3
"""Seconds on a fast one, whose queue is shorter than that anyway."""

UNKNOWN = 256 * 1024
"""Bytes before the rate is known: 2 ms of 1 Gbit/s."""

UP = 1.5
DOWN = 0.5
"""Sizes are powers of two; one is left for the next only when the wish is that far from it. 400
MB/s makes 4 MiB, 1 Gbit/s 128 KiB, 30 MB/s 64 KiB; between UP and DOWN lies a factor of 1.5 in
which a rate may swing without a change."""

SLOW = 200e6
"""Bytes/s: 1 Gbit/s is slow, 2.5 Gbit/s is not. On a slow link a reader of 1 MiB pieces gets them
in parts: joining them costs a copy (at 5 GB/s and more), which is nothing there; a faster one is
spared it."""


class RequestSize:
    """The size in use now: ``current``, a power of two times 64 KiB, or ``rsize`` if fixed."""

    __slots__ = ("_fixed", "_known", "_largest", "_rate", "current")

    def __init__(self, config: AheadConfig) -> None:
        rsize = max(config.rsize, CACHE_BLOCK)
        self._fixed = config.fixed_rsize
        self._largest = CACHE_BLOCK << ((rsize // CACHE_BLOCK).bit_length() - 1)
        self._known = False
        self._rate = 0.0
        self.current = rsize if self._fixed else min(UNKNOWN, self._largest)

    def update(self, rate: float, *, known: bool, round_trip: float = 0.0) -> None:
        """``rate``: bytes/s delivered, which the link can do at least; if ``known``, at most.
        ``round_trip``: the lowest of late, seconds.
        """
        self._rate = rate
        self._known = known
        if self._fixed:
            return
        slow = max(OCCUPANCY, min(ROUND_TRIP_SHARE * round_trip, FAST_OCCUPANCY))
        wish = rate * (FAST_OCCUPANCY if rate >= SLOW else slow)
        size = self.current
        while size < self._largest and wish >= UP * size:
            size *= 2
        while known and size > CACHE_BLOCK and wish <= DOWN * size:
            size //= 2
        self.current = size

    def for_reads_of(self, read_size: int) -> int:
        """Not less than a reader asks for at once, unless the link is slow."""
        size = self.current
        if self._fixed or read_size <= size or (self._known and self._rate < SLOW):
            return size
        return min(CACHE_BLOCK << ((read_size - 1) // CACHE_BLOCK).bit_length(), self._largest)
