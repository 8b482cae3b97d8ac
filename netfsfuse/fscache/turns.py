"""Calls on ranges of one file that come after each other where they overlap. Pure but for waiting.

Two stores of one block in two threads at once may end either way round. Here the one that was
called last is the last.
"""

from __future__ import annotations

import trio

ALL = (0, 2**63)


class Call:
    """One of them, of ``[start, end)``. Equal to itself alone."""

    __slots__ = ("end", "start")

    def __init__(self, start: int, end: int) -> None:
        self.start, self.end = start, end


class Turns:
    """The calls under way, in the order in which they came. Lives on the loop."""

    __slots__ = ("_calls", "_ended")

    def __init__(self) -> None:
        self._calls: list[Call] = []
        self._ended: trio.Event | None = None

    def enter(self, start: int, end: int) -> Call:
        """A call on ``[start, end)`` begins; to be ended with :meth:`leave`."""
        call = Call(start, end)
        self._calls.append(call)
        return call

    async def wait(self, call: Call) -> None:
        """Return when no call that entered before and overlaps is under way any more. No checkpoint
        where there is none."""
        while self._is_behind(call):
            if self._ended is None:
                self._ended = trio.Event()
            await self._ended.wait()

    def leave(self, call: Call) -> None:
        """It has ended."""
        self._calls.remove(call)
        if self._ended is not None:
            self._ended.set()
            self._ended = None

    def _is_behind(self, call: Call) -> bool:
        for other in self._calls:
            if other is call:
                return False
            if other.start < call.end and call.start < other.end:
                return True
        return False
