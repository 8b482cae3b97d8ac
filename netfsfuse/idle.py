"""Waiting until what is under way is over. Imports nothing of this package.

What is under way is counted by its owner, in a number or a set of its own; so nothing is kept here
but the tasks that wait, and it costs nothing while there are none.
"""

from __future__ import annotations

from collections.abc import Callable

import trio


class Idle:
    """Tasks that wait until its owner has nothing under way. The owner calls :meth:`wake` each time
    that it has become so."""

    __slots__ = ("_over",)

    def __init__(self) -> None:
        self._over: trio.Event | None = None

    def wake(self) -> None:
        """Nothing is under way at this moment. Never waits."""
        over, self._over = self._over, None
        if over is not None:
            over.set()

    async def wait(self, is_busy: Callable[[], object]) -> None:
        """Return once ``is_busy()`` is false; without a checkpoint where it is so already.
        What begins between the wake and this task's turn is waited for as well. Cancelled, it
        leaves nothing behind."""
        while is_busy():
            if self._over is None:
                self._over = trio.Event()
            await self._over.wait()
