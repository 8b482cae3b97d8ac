"""The end of a mount's process, in time: a disk that hangs must not keep it.

A thread that waits for such a disk can be neither cancelled nor joined, and no signal reaches it.
So the process leaves without it once it has been ending for long enough. What is mounted is taken
away first: nothing dead stays behind. Imports nothing of this package.
"""

from __future__ import annotations

import logging
import os
from collections.abc import Callable

import trio

log = logging.getLogger(__name__)

END_SECONDS = 25.0
"""For an orderly end: requests under way, then stores, are given 20 of them."""

HANG_SECONDS = 3.0
"""When it is known that the cache's disk hangs there is nothing to wait for."""

_STEP = 0.5


class Ending:
    """``begun`` is set, by anybody, when the mount is to end or was taken away. ``hangs()``:
    whether the cache's disk does not answer now. ``unmount()`` takes away what is mounted still."""

    def __init__(self) -> None:
        self.begun = trio.Event()
        self.hangs: Callable[[], bool] = lambda: False
        self.unmount: Callable[[], None] = lambda: None

    async def leave_in_time(self) -> None:
        """Wait for the time at which the process has to leave, and leave. A task; it is cancelled
        when all has ended before."""
        await self.begun.wait()
        end = trio.current_time() + END_SECONDS
        hanging = 0.0
        while trio.current_time() < end and hanging < HANG_SECONDS:
            await trio.sleep(_STEP)
            hanging = hanging + _STEP if self.hangs() else 0.0
        why = "for a disk that hangs" if hanging else f"the end took longer than {END_SECONDS:g} s"
        log.error("leaving at once, %s: what was not stored there is lost", why)
        self.unmount()
        os._exit(1)
