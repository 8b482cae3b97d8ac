"""Reads at constant distances: columns of a table, frames of raw video, every n-th record."""

from __future__ import annotations

from netfsfuse.netfs.readahead.answer import block_ceil, block_floor
from netfsfuse.netfs.readahead.growth import Growth
from netfsfuse.netfs.readahead.run import NOTHING
from netfsfuse.types import CACHE_BLOCK, ByteRange

PROOF = 3
"""Equal distances in a row that make a stride: two happen by chance, as in a search tree."""

OPENING = 4
"""Pieces ahead at first; doubles with waits."""

MOST = 256
"""Pieces ahead at most."""


class Strided(Growth):
    """Begins with any read, as a candidate. ``stride`` is bytes from start to start, may be < 0."""

    __slots__ = ("_asked", "_by", "_from", "equal", "size", "start", "stride")

    def __init__(self, handle: int, start: int, size: int) -> None:
        super().__init__(handle)
        self.start = start
        self.stride = 0
        self.size = size
        self.equal = 0
        self._asked = start  # the start of the last piece asked for
        self._from = start  # and of the read and
        self._by = 0  # the stride for which it was; 0: there is none

    def note(self, start: int, size: int) -> bool:
        """A read of the handle, whatever it is; True when it goes on by the proven stride."""
        distance = start - self.start
        if distance == self.stride and size == self.size:
            self.equal += 1
        else:
            self.equal = 1
            self.stride = distance
        self.size = size
        self.start = start
        if self.equal >= PROOF and abs(distance) >= 2 * block_ceil(size):
            self.progress += self._piece
            return True
        return False

    @property
    def _piece(self) -> int:
        """Bytes of a piece as it is fetched: the blocks that hold it, wherever it begins."""
        return block_ceil(self.size) + (CACHE_BLOCK if self.size > 1 else 0)

    def begin(self) -> None:
        """Open the window."""
        self.is_open = True
        self.was_active = False
        self.wish = OPENING * self._piece
        self._asked = self.start
        self._calm_since = self._grown_at = self.progress

    def plan(self, request: int, i_size: int) -> tuple[ByteRange, ...]:
        """What has to be asked for now, nearest first."""
        stride = self._by = self.stride
        self._from = self.start
        count = min(self.window // self._piece, MOST)
        last = self.start + count * stride
        position = self._asked
        if (position - self.start) * stride < 0:
            position = self.start
        pieces: list[ByteRange] = []
        while (last - position) * stride > 0:
            position += stride
            piece = ByteRange(
                block_floor(max(position, 0)), min(block_ceil(position + self.size), i_size)
            )
            if position < 0 or not piece:
                break
            pieces.append(piece)
            self._asked = position
        return tuple(pieces) if pieces else NOTHING

    def went_on(self) -> bool:
        """Grows by waits alone."""
        return False

    def has_asked(self, wanted: ByteRange) -> bool:
        """Whether the range may have been planned here."""
        return self.is_open and (wanted.start - self.start) * self.stride > 0

    def refused(self, wanted: ByteRange) -> None:
        """Ask again with the next read."""
        steps = round((wanted.start - self.start) / self.stride)
        self._asked = self.start + (steps - 1) * self.stride

    def forget(self) -> tuple[ByteRange, ...]:
        """The stride is over: the pieces that were asked for ahead of it."""
        self.is_open = False
        by, self._by = self._by, 0
        if not by:
            return NOTHING
        return tuple(
            ByteRange(block_floor(position), block_ceil(position + self.size))
            for position in range(self._from + by, self._asked + by, by)
        )
