"""How many rounds each cell gets, so that the whole run keeps its time. Pure: time is passed in.

Every cell gets one round while time is left at all. Whether it gets another one depends on its
share of the time that is left, by weight; what a cell does not use is there for those behind it.
"""

from __future__ import annotations

from collections.abc import Sequence

WHOLE_RUN = 18.5 * 60
"""Seconds; the promise is 20 minutes, and one round may take longer than it was thought to."""
QUICK_RUN = 95.0
"""Seconds; the promise is two minutes."""


class Pace:
    """The time of a run that began at ``start`` (s on any clock) and has ``weights`` of cells."""

    def __init__(self, start: float, seconds: float, weights: Sequence[float]) -> None:
        self._end = start + seconds
        self._weights = list(weights)
        self._cell = -1
        self._cell_end = start
        self._longest_round = 0.0
        self._round_start = start

    def begin_cell(self, now: float) -> bool:
        """The next cell begins; False when no time is left for it."""
        self._cell += 1
        rest = self._weights[self._cell :]
        self._cell_end = now + max(0.0, self._end - now) * rest[0] / sum(rest)
        self._longest_round = 0.0
        self._round_start = now
        return now < self._end

    def another_round(self, now: float) -> bool:
        """A round of this cell ended; whether one more like the longest so far has room."""
        self._longest_round = max(self._longest_round, now - self._round_start)
        self._round_start = now
        return now + self._longest_round <= self._cell_end
