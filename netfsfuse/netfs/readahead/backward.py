"""Reads that follow one another downwards, as ``tac`` and some databases' scans do."""

from __future__ import annotations

from netfsfuse.netfs.readahead.answer import block_floor
from netfsfuse.netfs.readahead.growth import Growth
from netfsfuse.netfs.readahead.run import NOTHING, request_within
from netfsfuse.types import ByteRange

PROOF = 3
"""Steps downwards before anything is fetched below: the kernel delivers short descending
sequences when it hands out its own readahead in disorder."""


class Backward(Growth):
    """Begins with any read, as a candidate, and is worth something after PROOF steps."""

    __slots__ = ("_asked", "_steps", "low")

    def __init__(self, handle: int, start: int) -> None:
        super().__init__(handle)
        self.low = start  # the lowest byte read
        self._asked = start  # everything from here to ``low`` has been asked for
        self._steps = 0

    def takes(self, start: int, size: int) -> bool:
        """Whether a read belongs to it; when open, also one a little out of order."""
        end = start + size
        if self.is_open:
            return start <= self.low and self.low - end <= max(self.wish, size)
        return end == self.low or (end > self.low > start and end - self.low < size // 2)

    def follow(self, start: int, size: int) -> None:
        """Take it on by a read that it :meth:`takes`."""
        self.progress += max(0, self.low - start)
        self.low = min(self.low, start)
        self._steps += 1

    @property
    def is_proven(self) -> bool:
        """Whether there were enough steps to open a window."""
        return self._steps >= PROOF

    def plan(self, request: int, i_size: int) -> tuple[ByteRange, ...]:
        """What has to be asked for now, nearest first."""
        grain = request_within(self.window, request)
        top = block_floor(min(self.low, self._asked))
        target = -(-max(0, self.low - self.window) // grain) * grain
        if not self.window or top - target < (grain if target else 1):
            return NOTHING
        self._asked = target
        pieces = []
        while top > target:
            bottom = max(target, (top - 1) // grain * grain)
            pieces.append(ByteRange(bottom, top))
            top = bottom
        return tuple(pieces)

    def has_asked(self, wanted: ByteRange) -> bool:
        """Whether the range may have been planned here."""
        return self.is_open and self._asked <= wanted.start < self.low

    def refused(self, wanted: ByteRange) -> None:
        """Ask again with the next read."""
        self._asked = max(self._asked, wanted.end)

    def forget(self) -> tuple[ByteRange, ...]:
        """It is left: what was asked for below it."""
        left = ByteRange(self._asked, block_floor(self.low))
        return (left,) if left else NOTHING
