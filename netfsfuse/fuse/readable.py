"""The cure for pyfuse3's blocking read of /dev/fuse.

pyfuse3 reads the descriptor, blocking, with the GIL held, when it is told that it is readable. When
the request is gone by then, because its process was killed, there is nothing to read and the whole
process stands still until another request happens to come (2 of 24 killed readers, measured). So
readability is asked once more, with no time to wait, directly before the read: 5 of 52 wake-ups
turned out empty, and none of them froze.

A request can still vanish in the microseconds between that question and the read. For this a timer
signal is set: a blocking read then ends with EINTR, which pyfuse3 takes for "try again". The signal
repeats as long as the read is not known to be over; while requests come it is not set anew for each
of them (a system call a request), and ends when it rings between two of them.
"""

from __future__ import annotations

import select
import signal
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType

import trio

_RESCUE = 0.1
"""Seconds that a read of nothing may hold up the process."""


class Alarm:
    """Interrupts a read of nothing. ``set_timer(seconds)`` sets the timer that repeats, 0 ends it;
    :meth:`ring` is what it calls."""

    def __init__(self, set_timer: Callable[[float], None]) -> None:
        self._set_timer = set_timer
        self._is_set = False
        self.is_reading = False

    def arm(self) -> None:
        """A read begins: from now on, until ``is_reading`` is set to False, what blocks is
        interrupted after ``_RESCUE`` seconds at the latest."""
        self.is_reading = True
        if not self._is_set:
            self._is_set = True
            self._set_timer(_RESCUE)

    def ring(self) -> None:
        """Python runs, so nothing blocks now. It may be about to: this process may have been
        stopped, or kept from running, right before the read."""
        if not self.is_reading:
            self._is_set = False
            self._set_timer(0)


class FuseReadable:
    """Whether the kernel has a request for us, at the ``descriptor`` of /dev/fuse. To be used
    within :meth:`rescued`."""

    def __init__(self, descriptor: int) -> None:
        self._descriptor = descriptor
        poller = select.poll()
        poller.register(descriptor, select.POLLIN)
        self._poll = poller.poll
        self._alarm = Alarm(_set_timer)

    def now(self) -> bool:
        """Whether there is one. Then it is to be read at once: should it vanish meanwhile, the read
        is interrupted. :meth:`over` is to be called when it was."""
        if not self._poll(0):
            return False
        self._alarm.arm()
        return True

    def over(self) -> None:
        """The read behind :meth:`now` has ended."""
        self._alarm.is_reading = False

    async def wait(self) -> None:
        """Return when there may be one: :meth:`now` tells. Raises trio.ClosedResourceError when the
        session is ended."""
        await trio.lowlevel.wait_readable(self._descriptor)

    @contextmanager
    def rescued(self) -> Iterator[None]:
        """Have reads of nothing interrupted meanwhile. Main thread only: SIGALRM is taken."""

        def ring(_number: int, _frame: FrameType | None) -> None:
            self._alarm.ring()

        before = signal.signal(signal.SIGALRM, ring)
        try:
            yield
        finally:
            _set_timer(0)
            signal.signal(signal.SIGALRM, before)


def _set_timer(seconds: float) -> None:
    signal.setitimer(signal.ITIMER_REAL, seconds, seconds)
