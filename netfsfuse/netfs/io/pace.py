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

from collections import deque

import trio

from netfsfuse.netfs.demand import Demand
from netfsfuse.netfs.readahead import Link

STALLED = 2.0
"""Seconds. On a slow link something comes back sooner: requests are small there."""


class _Waiter:
    __slots__ = ("era", "granted", "length")

    def __init__(self, length: int) -> None:
        self.length = length
        self.granted = trio.Event()
        self.era = 0


class Pace:
    """One per mount. ``under_way``: bytes let through in this ``era`` and not back. All lengths in
    bytes."""

    def __init__(self, link: Link) -> None:
        self.under_way = 0
        self.era = 0
        self._moved = 0.0  # when something came back last, or was let through beside nothing
        self._link = link
        self._urgent: deque[_Waiter] = deque()
        self._patient: deque[_Waiter] = deque()

    async def enter(self, length: int, demand: Demand) -> int:
        """Return when ``length`` may be sent; give it back with :meth:`leave` and what this
        returns. No checkpoint if that is now. Cancelled: nothing was taken.
        """
        if not self._urgent and (demand.urgent or not self._patient) and self._fits(length):
            self._let_through(length)
            return self.era
        waiter = _Waiter(length)

        def hurry() -> None:
            if not waiter.granted.is_set():
                self._patient.remove(waiter)
                self._urgent.append(waiter)

        if demand.urgent:
            self._urgent.append(waiter)
        else:
            self._patient.append(waiter)
            demand.on_raise = hurry
        try:
            while not waiter.granted.is_set():
                with trio.move_on_at(self._moved + STALLED) as patience:
                    await waiter.granted.wait()
                if patience.cancelled_caught:
                    self._forgive_stalled()
        except trio.Cancelled:
            if waiter.granted.is_set():
                self.leave(length, waiter.era)
            else:
                (self._urgent if waiter in self._urgent else self._patient).remove(waiter)
                self._serve()
            raise
        finally:
            demand.on_raise = None
        return waiter.era

    def leave(self, length: int, era: int) -> None:
        """It was answered, or never will be."""
        if era == self.era:
            self.under_way -= length
            self._moved = trio.current_time()
            self._serve()

    def _let_through(self, length: int) -> None:
        if not self.under_way:
            self._moved = trio.current_time()
        self.under_way += length

    def _forgive_stalled(self) -> None:
        if trio.current_time() >= self._moved + STALLED:
            self.era += 1
            self.under_way = 0
            self._serve()

    def _fits(self, length: int) -> bool:
        return not self.under_way or self.under_way + length <= self._link.window

    def _serve(self) -> None:
        for queue in (self._urgent, self._patient):
            while queue:
                if not self._fits(queue[0].length):
                    return
                waiter = queue.popleft()
                self._let_through(waiter.length)
                waiter.era = self.era
                waiter.granted.set()
