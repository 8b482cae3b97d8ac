"""PURE: the bytes of one file that the server does not have yet, and in which buffers they lie.

A *dirty folio* is one range of the file in one buffer::

    DIRTY --> SENDING --> GONE
      |                    ^
      +--------------------+   cut off by a truncate

DIRTY: bytes may be added at either end and written over. SENDING: a WRITE of exactly this range is
under way; neither its bytes nor any others in its buffer change, because what sends it may scribble
on those that lie beside it, and a signature has been made over it. New bytes for its range go to
another folio, which waits until it is GONE: so no two WRITEs under way overlap, and the last one
wins.

Invariants: DIRTY folios are disjoint, SENDING ones too; a range is DIRTY, SENDING, both (then the
DIRTY bytes are the newer ones) or neither. One folio has one range and not several: two ranges in
one buffer could not be sent at once, as the header of one would lie on the bytes of the other.

A folio begins on the grid of cache blocks, so that its bytes lie in the buffer as in a folio of the
mapping, which it becomes when the server has them. The first of a run is one block large, each one
that follows it twice as large as the one before, up to ``wsize``: a small file takes little memory,
a large one large requests. What is written in large pieces gets large ones at once.
"""

from __future__ import annotations

import enum
from bisect import bisect_right
from collections.abc import Callable, Iterator
from operator import attrgetter
from typing import NamedTuple

from netfsfuse.errors import NetfsError
from netfsfuse.netfs.memory.buffer import Buffer
from netfsfuse.types import CACHE_BLOCK

_RUNS = 16
"""Runs whose next folio is known to be a larger one. More writers than that in one file are none
that write in order."""

_start_of = attrgetter("start")


class DirtyState(enum.Enum):
    """How far the bytes of a folio are."""

    DIRTY = "dirty"
    SENDING = "sending"
    GONE = "gone"


class Ticket:
    """Waits for some folios: ``left`` of them are not GONE, ``error`` is the last one of those that
    are. ``over`` is called each time that none is left."""

    __slots__ = ("error", "left", "over")

    def __init__(self) -> None:
        self.left = 0
        self.error: NetfsError | None = None
        self.over: Callable[[], None] | None = None

    def watch(self, folio: DirtyFolio) -> None:
        """Wait for ``folio`` as well, unless it is GONE. Idempotent."""
        if folio.state is not DirtyState.GONE and self not in folio.tickets:
            folio.tickets.append(self)
            self.left += 1

    def settle(self, error: NetfsError | None) -> None:
        """One is GONE, because of ``error`` or because the server has it."""
        self.left -= 1
        if error is not None:
            self.error = error
        if not self.left and self.over is not None:
            self.over()


class DirtyFolio:
    """Bytes ``[start, end)`` of a file, in ``buffer`` at ``start - base``.

    ``limit``: where its buffer ends. ``room``: up to where bytes may be added at its end.
    ``since``: when it got its first byte. ``extended``: more was added at its end, so it may be
    going on. ``behind``: a writer of some of its bytes has been told that all is well. ``urgent``:
    a caller waits for it. ``withheld``: its buffer counts as that in the pool.
    """

    __slots__ = (
        "base",
        "behind",
        "buffer",
        "end",
        "extended",
        "limit",
        "room",
        "since",
        "start",
        "state",
        "tickets",
        "urgent",
        "withheld",
    )

    def __init__(self, start: int, buffer: Buffer, capacity: int, since: float) -> None:
        self.base = start - start % CACHE_BLOCK
        self.start = self.end = start
        self.limit = self.room = self.base + capacity
        self.buffer = buffer
        self.since = since
        self.state = DirtyState.DIRTY
        self.extended = False
        self.behind = False
        self.urgent = False
        self.withheld = True
        self.tickets: list[Ticket] = []

    @property
    def length(self) -> int:
        """Bytes of it."""
        return self.end - self.start

    def settle(self, error: NetfsError | None) -> None:
        """It is GONE: tell those that wait for it."""
        self.state = DirtyState.GONE
        tickets, self.tickets = self.tickets, []
        for ticket in tickets:
            ticket.settle(error)


class DirtyPiece(NamedTuple):
    """``[start, end)`` of a file lies in ``folio``."""

    start: int
    end: int
    folio: DirtyFolio

    @property
    def data(self) -> memoryview:
        """The bytes."""
        base = self.folio.base
        return self.folio.buffer.payload[self.start - base : self.end - base]


class DirtyFolios:
    """All dirty folios of one file. ``wsize``: the largest of them, bytes. ``size``: bytes in
    them all. ``last``: the one that was written to last, while it is DIRTY."""

    __slots__ = ("_dirty", "_runs", "_sending", "_wsize", "last", "size")

    def __init__(self, wsize: int) -> None:
        self.size = 0
        self.last: DirtyFolio | None = None
        self._wsize = wsize
        self._dirty: list[DirtyFolio] = []  # both in order of start
        self._sending: list[DirtyFolio] = []
        self._runs: dict[int, int] = {}  # where a folio ended full -> its capacity, oldest first

    def __bool__(self) -> bool:
        return bool(self._dirty or self._sending)

    def __iter__(self) -> Iterator[DirtyFolio]:
        yield from self._sending
        yield from self._dirty

    @property
    def dirty(self) -> list[DirtyFolio]:
        """Those that are DIRTY, in order; not to be changed."""
        return self._dirty

    @property
    def end(self) -> int:
        """Where the last of all bytes ends; 0 if there are none."""
        ends = [folios[-1].end for folios in (self._dirty, self._sending) if folios]
        return max(ends, default=0)

    def put(self, start: int, data: memoryview) -> int:
        """Take bytes of ``data`` (not empty) for ``start`` on into a DIRTY folio; how many: 0 says
        that the first of them needs a folio of its own (:meth:`add`)."""
        dirty = self._dirty
        at = bisect_right(dirty, start, key=_start_of)
        if at and start <= dirty[at - 1].end and start < dirty[at - 1].room:
            return self._fill(dirty[at - 1], start, data)
        if at == len(dirty):
            return 0
        behind = dirty[at]
        taken = behind.start - start
        if start < behind.base or len(data) < taken:
            return 0
        behind.buffer.payload[start - behind.base : behind.start - behind.base] = data[:taken]
        behind.start = start
        if at:
            dirty[at - 1].room = min(dirty[at - 1].limit, start)
        self.size += taken
        self.last = behind
        return taken

    def capacity_for(self, start: int, end: int) -> int:
        """Bytes of the buffer for a folio that is to take ``[start, end)``, or the first of it."""
        following = 2 * self._runs.get(start, 0)
        at = bisect_right(self._dirty, start, key=_start_of)
        if at < len(self._dirty):
            end = min(end, self._dirty[at].start)
        wanted = end - (start - start % CACHE_BLOCK)
        return min(max(wanted, following, CACHE_BLOCK), self._wsize)

    def add(self, start: int, data: memoryview, buffer: Buffer, since: float) -> DirtyFolio:
        """A new folio in ``buffer`` with the first bytes of ``data``, which :meth:`put` has just
        refused."""
        dirty = self._dirty
        at = bisect_right(dirty, start, key=_start_of)
        folio = DirtyFolio(start, buffer, min(buffer.capacity, self._wsize), since)
        if at < len(dirty):
            folio.room = min(folio.limit, dirty[at].start)
        if at:
            dirty[at - 1].room = min(dirty[at - 1].limit, start)
        dirty.insert(at, folio)
        self._runs.pop(start, None)
        self._fill(folio, start, data)
        folio.extended = False
        return folio

    def _fill(self, folio: DirtyFolio, start: int, data: memoryview) -> int:
        end = min(start + len(data), folio.room)
        folio.buffer.payload[start - folio.base : end - folio.base] = data[: end - start]
        if end > folio.end:
            self.grown(folio, end)
        self.last = folio
        return end - start

    def grown(self, folio: DirtyFolio, end: int) -> None:
        """``folio``, which is DIRTY, has bytes up to ``end`` <= its ``room`` now."""
        self.size += end - folio.end
        folio.end = end
        folio.extended = True
        if end == folio.limit:
            while len(self._runs) >= _RUNS:
                del self._runs[next(iter(self._runs))]
            self._runs[end] = folio.limit - folio.base

    def may_send(self, folio: DirtyFolio) -> bool:
        """Whether it is DIRTY and none that is SENDING overlaps it."""
        return folio.state is DirtyState.DIRTY and not any(
            _overlapping(self._sending, folio.start, folio.end)
        )

    def send(self, folio: DirtyFolio) -> None:
        """A DIRTY folio that may be sent is SENDING."""
        if not self.may_send(folio):
            raise RuntimeError(f"a {folio.state.value} folio cannot be sent now")
        self._take_out(folio)
        self._sending.insert(bisect_right(self._sending, folio.start, key=_start_of), folio)
        folio.state = DirtyState.SENDING

    def shorten(self, folio: DirtyFolio, start: int) -> None:
        """The server has what lies below ``start`` of a SENDING folio."""
        self.size -= start - folio.start
        folio.start = start

    def settle(self, folio: DirtyFolio, error: NetfsError | None) -> None:
        """The server has a SENDING folio, or will not have it because of ``error``: it is GONE, and
        those that wait for it are told."""
        self._sending.remove(folio)
        self.size -= folio.length
        folio.settle(error)

    def cut(self, size: int) -> list[DirtyFolio]:
        """The file ends at ``size`` now: forget what is DIRTY beyond. Returns the folios of which
        nothing is left, which are GONE. None that is SENDING may reach beyond ``size``."""
        gone = []
        for folio in [folio for folio in self._dirty if folio.end > size]:
            if folio.start >= size:
                self._take_out(folio)
                self.size -= folio.length
                gone.append(folio)
            else:
                self.size -= folio.end - size
                folio.end = size
        self._runs.clear()
        for folio in gone:
            folio.settle(None)
        return gone

    def overlaps(self, start: int, end: int) -> bool:
        """Whether a byte of ``[start, end)`` is here."""
        return any(_overlapping(self._dirty, start, end)) or any(
            _overlapping(self._sending, start, end)
        )

    def sending(self, start: int) -> list[DirtyFolio]:
        """Those that are SENDING and reach beyond ``start``."""
        return [folio for folio in self._sending if folio.end > start]

    def find(self, start: int, end: int) -> list[DirtyPiece]:
        """The newest bytes of ``[start, end)`` that are here: disjoint, in order."""
        pieces = []
        for folio in _overlapping(self._dirty, start, end):
            pieces += self._under_way(start, folio.start)
            start = max(start, folio.start)
            stop = min(end, folio.end)
            pieces.append(DirtyPiece(start, stop, folio))
            start = stop
        return pieces + self._under_way(start, end)

    def _under_way(self, start: int, end: int) -> list[DirtyPiece]:
        return [
            DirtyPiece(max(start, folio.start), min(end, folio.end), folio)
            for folio in _overlapping(self._sending, start, end)
        ]

    def _take_out(self, folio: DirtyFolio) -> None:
        """Out of the DIRTY ones."""
        dirty = self._dirty
        at = bisect_right(dirty, folio.start, key=_start_of) - 1
        del dirty[at]
        if at:
            before = dirty[at - 1]
            before.room = min(before.limit, dirty[at].start) if at < len(dirty) else before.limit
        if self.last is folio:
            self.last = None


def _overlapping(folios: list[DirtyFolio], start: int, end: int) -> Iterator[DirtyFolio]:
    """Those of ``folios`` (disjoint, in order) that have a byte of ``[start, end)``."""
    if start >= end:
        return
    at = bisect_right(folios, start, key=_start_of)
    if at and folios[at - 1].end > start:
        yield folios[at - 1]
    while at < len(folios) and folios[at].start < end:
        yield folios[at]
        at += 1
