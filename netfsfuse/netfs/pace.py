"""How much is on the link at once: what runs ahead, and what the kernel asks for in order.

The policy says how far ahead of a reader its data should be, and how many bytes the link needs in
flight. The kernel's own readahead comes on top, up to 4 MiB asked for at once, and on 1 Gbit/s
that is 32 ms in which nobody else is answered. So everything that belongs to a run passes here:
no more than the link's window is under way, what a reader waits for first. A read that belongs to
none (the first of a file, a random one) does not pass here and is sent at once.
"""

from __future__ import annotations

from collections import deque

import trio

from netfsfuse.netfs.demand import Demand
from netfsfuse.netfs.readahead import Link


class _Waiter:
    __slots__ = ("granted", "length")

    def __init__(self, length: int) -> None:
        self.length = length
        self.granted = trio.Event()


class Pace:
    """One per mount. ``under_way``: bytes let through and not back. All lengths in bytes."""

    def __init__(self, link: Link) -> None:
        self.under_way = 0
        self._link = link
        self._urgent: deque[_Waiter] = deque()
        self._patient: deque[_Waiter] = deque()

    async def enter(self, length: int, demand: Demand) -> None:
        """Return when ``length`` may be sent; give it back with :meth:`leave`. No checkpoint if
        that is now. Cancelled: nothing was taken.
        """
        if not self._urgent and (demand.urgent or not self._patient) and self._fits(length):
            self.under_way += length
            return
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
            await waiter.granted.wait()
        except trio.Cancelled:
            if waiter.granted.is_set():
                self.leave(length)
            else:
                (self._urgent if waiter in self._urgent else self._patient).remove(waiter)
                self._serve()
            raise
        finally:
            demand.on_raise = None

    def leave(self, length: int) -> None:
        """It was answered, or never will be."""
        self.under_way -= length
        self._serve()

    def _fits(self, length: int) -> bool:
        return not self.under_way or self.under_way + length <= self._link.window

    def _serve(self) -> None:
        for queue in (self._urgent, self._patient):
            while queue:
                if not self._fits(queue[0].length):
                    return
                waiter = queue.popleft()
                self.under_way += waiter.length
                waiter.granted.set()
