"""The end of a mount's process, in time: a disk that hangs must not keep it.

A thread that waits for such a disk can be neither cancelled nor joined, and no signal reaches it.
So the process leaves without it once it has been ending for long enough. What is mounted is taken
away first: nothing dead stays behind.

What was written here is another matter. As long as it goes to the server the end is put off: all
times below count from the last byte that moved. Imports nothing of this package.
"""

from __future__ import annotations

import logging
import os
from collections.abc import Awaitable, Callable

import trio

log = logging.getLogger(__name__)

END_SECONDS = 25.0
"""For an orderly end: requests under way, then what is to be sent and stored, are given 20."""

DRAIN_SECONDS = 20.0
"""For what is to be sent and stored."""

HANG_SECONDS = 3.0
"""When it is known that the cache's disk hangs there is nothing to wait for."""

_STEP = 0.5


class Ending:
    """``begun`` is set, by anybody, when the mount is to end or was taken away. ``hangs()``:
    whether the cache's disk does not answer now. ``unmount()`` takes away what is mounted still.
    ``progress()``: a value that is another one each time that something has moved."""

    def __init__(self) -> None:
        self.begun = trio.Event()
        self.hangs: Callable[[], bool] = lambda: False
        self.unmount: Callable[[], None] = lambda: None
        self.progress: Callable[[], object] = lambda: None

    async def leave_in_time(self) -> None:
        """Wait for the time at which the process has to leave, and leave. A task; it is cancelled
        when all has ended before."""
        await self.begun.wait()
        seen, end = self.progress(), trio.current_time() + END_SECONDS
        hanging = 0.0
        while trio.current_time() < end and hanging < HANG_SECONDS:
            await trio.sleep(_STEP)
            hanging = hanging + _STEP if self.hangs() else 0.0
            if (now := self.progress()) != seen:
                seen, end = now, trio.current_time() + END_SECONDS
        why = "for a disk that hangs" if hanging else f"the end took longer than {END_SECONDS:g} s"
        log.error("leaving at once, %s: what was not stored there is lost", why)
        self.unmount()
        os._exit(1)

    async def wait_moving(self, call: Callable[[], Awaitable[None]], seconds: float) -> bool:
        """Await ``call()``, shielded from cancellation; whether it has returned. It is cancelled
        when nothing has moved for ``seconds``. Raises what ``call()`` does."""
        failed: Exception | None = None
        with trio.CancelScope(shield=True) as scope:
            async with trio.open_nursery() as nursery:
                nursery.start_soon(self._put_off, scope, seconds)
                try:
                    await call()
                except Exception as error:
                    failed = error
                nursery.cancel_scope.cancel()
        if failed is not None:
            raise failed
        return not scope.cancelled_caught

    async def _put_off(self, scope: trio.CancelScope, seconds: float) -> None:
        """Keep the deadline of ``scope`` as far away."""
        seen, scope.deadline = self.progress(), trio.current_time() + seconds
        while True:
            await trio.sleep(min(_STEP, seconds / 2))
            if (now := self.progress()) != seen:
                seen, scope.deadline = now, trio.current_time() + seconds
