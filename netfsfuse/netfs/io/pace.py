"""How much is on the link at once: what runs ahead, and what the kernel asks for in order.

The policy says how far ahead of a reader its data should be, and how many bytes the link needs in
flight. The kernel's own readahead comes on top, up to 4 MiB asked for at once, and on 1 Gbit/s
that is 32 ms in which no other reader is answered. So everything that belongs to a run passes here:
no more than the link's window is under way, what a reader waits for first. A read that belongs to
none (the first of a file, a random one) does not pass here and is sent at once.

What the server holds up (a file that must be fetched from tape, a broken disk) is not on the link.
A request that has waited here for ``STALLED`` seconds in which nothing came back begins a new
era: what was let through before counts no more, or a few files would stop all others.
"""

from __future__ import annotations

import trio

from netfsfuse.netfs.demand import Demand
from netfsfuse.netfs.readahead import Link
from netfsfuse.priority_gate import PriorityGate

STALLED = 2.0
"""Seconds. On a slow link something comes back sooner: requests are small there."""

URGENT, AHEAD = 0, 1
"""The ranks in which requests wait: those that a reader waits for, and readahead."""


class Pace:
    """One per mount. ``under_way``: bytes let through in this ``era`` and not back. All lengths in
    bytes."""

    def __init__(self, link: Link) -> None:
        self.under_way = 0
        self.era = 0
        self._moved = 0.0  # when something came back last, or was let through beside nothing
        self._link = link
        self._gate: PriorityGate[int] = PriorityGate(self._let_through, self.leave, ranks=2)

    async def enter(self, length: int, demand: Demand) -> int:
        """Return when ``length`` may be sent; give it back with :meth:`leave` and what this
        returns. No checkpoint if that is now. Cancelled: nothing was taken.
        """
        rank = URGENT if demand.urgent else AHEAD
        era = self._gate.take_nowait(length, rank)
        if era is not None:
            return era
        with self._gate.queue(length, rank) as place:
            demand.on_raise = place.promote
            try:
                while place.grant is None:
                    with trio.move_on_at(self._moved + STALLED) as stalled:
                        await place.granted.wait()
                    if stalled.cancelled_caught:
                        self._forgive_stalled()
                return place.grant
            finally:
                demand.on_raise = None

    def leave(self, length: int, era: int) -> None:
        """It was answered, or never will be."""
        if era == self.era:
            self.under_way -= length
            self._moved = trio.current_time()
            self._gate.serve()

    def _let_through(self, length: int, rank: int) -> int | None:
        """The era that ``length`` is counted in; None if the window is full. Whatever its length,
        one may always be under way."""
        if not self.under_way:
            self._moved = trio.current_time()
        elif self.under_way + length > self._link.window:
            return None
        self.under_way += length
        return self.era

    def _forgive_stalled(self) -> None:
        if trio.current_time() >= self._moved + STALLED:
            self.era += 1
            self.under_way = 0
            self._gate.serve()
