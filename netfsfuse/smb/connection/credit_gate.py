"""Waiting for credits: questions about names, then reads with a waiting reader, then readahead.
A write that a program waits for is as such a read, one that goes on behind it as readahead.

The queue is a :class:`~netfsfuse.priority_gate.PriorityGate` of three ranks, the arithmetic that of
:class:`~netfsfuse.smb.connection.credits.CreditWindow`. A read that a reader begins to wait for
while it queues goes behind those that have one. A large request that is next is not overtaken by
smaller ones of its rank, or it would wait for ever; by questions, only so often.

The server may take credits back: it gives fewer than a request has cost. What costs more than there
is while nothing is under way is refused, and has to be asked for in smaller pieces.
"""

from __future__ import annotations

from collections.abc import Callable

from netfsfuse.errors import NetfsError, ServerBusy
from netfsfuse.netfs.demand import Demand
from netfsfuse.priority_gate import PriorityGate
from netfsfuse.smb.connection.credits import CreditWindow

QUESTION, READ, READAHEAD = 0, 1, 2
"""The ranks in which requests wait."""

RESERVE = 4
"""Credits that readahead leaves for questions and for reads with a waiting reader."""

QUESTIONS = 3
"""Credits that all reads leave for questions: a look-up is a compound of two or three."""

OVERTAKEN = 16
"""Questions that may go before a read with a waiting reader, when it is next: they take credits
that it saves up for, and a stream of them must not hold it up for ever."""


class Unaffordable(ServerBusy):
    """It costs more credits than the server lets us hold now; a smaller request may go."""


_LEFT = (0, QUESTIONS, RESERVE)
"""Credits that each rank leaves for the more important ones."""

_REFUSED = -1
"""In place of a MessageId: there will be none."""


class CreditGate:
    """Gives out MessageIds for credits.

    ``on_unused(first_id, charge)`` is called when MessageIds were given to a caller that is
    cancelled already: an id that is never sent would stall the server's window for ever.
    ``on_starved()`` is called when a request waits, there is no credit, and nothing is under way of
    which the window knows.
    """

    def __init__(
        self,
        window: CreditWindow,
        on_unused: Callable[[int, int], None],
        on_starved: Callable[[], None] = lambda: None,
    ) -> None:
        self.window = window
        self._on_unused = on_unused
        self._on_starved = on_starved
        self._gate: PriorityGate[int] = PriorityGate(
            self._spend, self._give_back, ranks=3, overtaken={READ: OVERTAKEN}
        )
        self._error: NetfsError | None = None

    @property
    def largest_charge(self) -> int:
        """Credits that one request may cost without waiting for ever."""
        return max(1, self.window.usable - RESERVE)

    async def take(self, charge: int, demand: Demand | None = None) -> int:
        """First of ``charge`` consecutive MessageIds. Raises the error given to ``fail``, and
        Unaffordable.

        ``demand`` is that of a read, and may be raised meanwhile; None: a question.
        """
        if self._error is not None:
            raise self._error
        rank = QUESTION if demand is None else READ if demand.urgent else READAHEAD
        first_id = self._gate.take_nowait(charge, rank)
        if first_id is None and self._error is None:
            first_id = await self._wait(charge, rank, demand)
        if self._error is not None:
            raise self._error
        if first_id is None or first_id == _REFUSED:
            raise Unaffordable(f"{charge} credits: the server gives {self.window.available}")
        return first_id

    async def _wait(self, charge: int, rank: int, demand: Demand | None) -> int:
        with self._gate.queue(charge, rank) as place:
            if demand is not None:
                demand.on_raise = lambda: place.promote(READ)
            try:
                await place.granted.wait()
            finally:
                if demand is not None:
                    demand.on_raise = None
        assert place.grant is not None
        return place.grant

    def _spend(self, charge: int, rank: int) -> int | None:
        """For the gate: the first MessageId, _REFUSED, or None if credits must come back first."""
        window = self.window
        if window.affords(charge, _LEFT[rank]):
            return window.take(charge)
        if not window.idle:
            return None
        if window.available > 0:
            return _REFUSED
        self._on_starved()
        return None

    def _give_back(self, charge: int, first_id: int) -> None:
        if first_id != _REFUSED:
            self._on_unused(first_id, charge)

    def serve(self) -> None:
        """Wake those that the credits on hand are enough for. Call after every grant."""
        self._gate.serve()

    def fail(self, error: NetfsError) -> None:
        """End all waiters, now and later, with ``error``."""
        self._error = error
        self._gate.dismiss(_REFUSED)
