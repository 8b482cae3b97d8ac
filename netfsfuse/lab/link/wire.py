"""One direction of a long link: when a piece that came in now goes out at the other end. Pure.

The wire delays each piece by half of the round trip. With a rate it also sends one piece after
the other: a piece leaves ``length / rate`` after it was due, or after the one before it left.
All connections of a link share its two wires, so two of them have no more bandwidth than one.
"""

from __future__ import annotations

_LIMITED_PIECE = 64 * 1024
"""Bytes taken at once where there is a rate: 0.5 ms at 1 Gbit/s. A small request waits no longer
behind a large piece than it would behind the packets of a real link."""

_PIECE = 1 << 20
"""Bytes taken at once where there is none."""

_LEAST_QUEUE = 256 * 1024
_MOST_HELD = 256 << 20
"""Bytes: 2.5 GB/s at a round trip of 200 ms."""


class Wire:
    """``round_trip`` in seconds, ``rate`` in bytes/s or None. Times are of one monotonic clock."""

    def __init__(self, round_trip: float, rate: float | None) -> None:
        self._half = round_trip / 2
        self._rate = rate
        self._free_at = 0.0
        self.held = 0
        self.piece = _PIECE
        self.most_held = _MOST_HELD
        if rate is not None:
            self.piece = _LIMITED_PIECE
            self.most_held = min(_MOST_HELD, max(_LEAST_QUEUE, int(2 * rate * round_trip)))

    @property
    def full(self) -> bool:
        """Whether so much is held that nothing more may enter: the sender feels it by TCP."""
        return self.held >= self.most_held

    def enter(self, now: float, length: int) -> float:
        """``length`` bytes came in: the time when they are to go out. 0 bytes keep their turn."""
        self.held += length
        departure = now + self._half
        if self._rate is not None:
            departure = max(self._free_at, departure) + length / self._rate
            self._free_at = departure
        return departure

    def leave(self, length: int) -> None:
        """``length`` of the held bytes went out, or were dropped with their connection."""
        self.held -= length
