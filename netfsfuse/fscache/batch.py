"""Several transfers of one file in one hop to a thread.

A hop costs 200-300 us of CPU on two cores (trio's part, two wake-ups, the fight for the
interpreter's lock), more than a direct transfer of 1 MiB (50-150 us) and its hashes (80 us)
together. So while the hops of a file are under way, what comes queues up, and the next hop takes
all of it along, up to ``PIECES_MAX``. A call that comes alone goes at once.

Cancellation. A piece that waits leaves at once. One that a hop has taken is waited for: its memory
is the thread's until then.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field

import trio

PIECES_MAX = 4
"""Pieces in one hop. Three quarters of the cost are gone with four; the first piece of more would
wait longer for the last (4 MiB take 2-4 ms), with its buffer."""


@dataclass(slots=True, eq=False)
class Piece:
    """One transfer: ``memory`` from or to ``start``. ``done``: it succeeded."""

    start: int
    memory: memoryview
    done: bool = False
    leads: bool = False
    taken: bool = False
    woken: trio.Event = field(default_factory=trio.Event)


Take = Callable[[], Sequence[Piece]]
Carry = Callable[[Take], Awaitable[None]]
"""Waits for a thread, calls its argument once for what to do there, does it and sets ``done``. May
be cancelled before that call, not after. Raises nothing else."""


class Batch:
    """The transfers of one kind of one file, at most ``hops`` threads at once. On the loop."""

    __slots__ = ("_carry", "_idle", "_waiting")

    def __init__(self, carry: Carry, hops: int) -> None:
        self._carry = carry
        self._idle = hops
        self._waiting: deque[Piece] = deque()

    async def transfer(self, start: int, memory: memoryview) -> bool:
        """Do it, alone or along with others; whether it succeeded."""
        piece = Piece(start, memory)
        if self._idle:
            self._idle -= 1
        else:
            await self._wait(piece)
            if not piece.leads:
                return piece.done
        await self._lead(piece)
        return piece.done

    async def _wait(self, piece: Piece) -> None:
        """Until another hop has done ``piece``, or until it is its turn to lead one."""
        self._waiting.append(piece)
        try:
            await piece.woken.wait()
        except trio.Cancelled:
            if piece.leads:
                self._next()
            elif piece.taken:
                with trio.CancelScope(shield=True):
                    await piece.woken.wait()
            else:
                self._waiting.remove(piece)
            raise

    async def _lead(self, piece: Piece) -> None:
        taken = [piece]

        def take() -> Sequence[Piece]:
            while self._waiting and len(taken) < PIECES_MAX:
                other = self._waiting.popleft()
                other.taken = True
                taken.append(other)
            return taken

        try:
            await self._carry(take)
        finally:
            for other in taken:
                other.woken.set()
            self._next()

    def _next(self) -> None:
        """Pass a hop that is free again on to the piece that waits longest."""
        if self._waiting:
            piece = self._waiting.popleft()
            piece.leads = True
            piece.woken.set()
        else:
            self._idle += 1
