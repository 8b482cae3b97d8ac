"""Waiting for credits: questions about names first, then reads somebody waits for, then readahead.

Within each class it goes by order of arrival; a read that somebody begins to wait for while it
queues changes its class and goes behind those that are in it. The arithmetic is
that of :class:`~netfsfuse.smb.connection.credits.CreditWindow`. A large request at the head of its
queue is not overtaken by smaller ones of its class, or it would wait for ever; by questions, only
so often.

The server may take credits back: it gives fewer than a request has cost. What costs more than there
is while nothing is under way is refused, and has to be asked for in smaller pieces.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field

import trio

from netfsfuse.errors import NetfsError, ServerBusy
from netfsfuse.netfs.demand import Demand
from netfsfuse.smb.connection.credits import CreditWindow

RESERVE = 4
"""Credits that readahead leaves for questions and for reads that somebody waits for."""

QUESTIONS = 3
"""Credits that all reads leave for questions: a look-up is a compound of two or three."""

OVERTAKEN = 16
"""Questions that may go before a read that somebody waits for, when it is next: they take credits
that it saves up for, and a stream of them must not hold it up for ever."""


class Unaffordable(ServerBusy):
    """It costs more credits than the server lets us hold now; a smaller request may go."""


@dataclass(slots=True, eq=False)
class _Waiter:
    charge: int
    served: trio.Event = field(default_factory=trio.Event)
    first_id: int = -1
    overtaken: int = 0
    refused: bool = False


class CreditGate:
    """Gives out MessageIds for credits.

    ``on_unused(first_id, charge)`` is called when MessageIds were given to a caller that is
    cancelled already: an id that is never sent would stall the server's window for ever.
    ``on_starved()`` is called when somebody waits, there is no credit, and nothing is under way of
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
        self._questions: deque[_Waiter] = deque()
        self._urgent: deque[_Waiter] = deque()
        self._patient: deque[_Waiter] = deque()
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
        queue = self._queue(demand)
        if not (queue or self._before(queue)) and self._affords(charge, queue):
            return self.window.take(charge)
        waiter = _Waiter(charge)
        queue.append(waiter)
        self.serve()
        await self._wait(waiter, demand)
        if self._error is not None:
            raise self._error
        if waiter.refused:
            raise Unaffordable(f"{charge} credits: the server gives {self.window.available}")
        return waiter.first_id

    def _queue(self, demand: Demand | None) -> deque[_Waiter]:
        if demand is None:
            return self._questions
        return self._urgent if demand.urgent else self._patient

    def _before(self, queue: deque[_Waiter]) -> bool:
        """Whether somebody waits whose turn comes before that of ``queue``."""
        if queue is self._questions:
            return bool(self._urgent)  # count how often it is overtaken
        return bool(self._questions or (queue is self._patient and self._urgent))

    def _affords(self, charge: int, queue: deque[_Waiter]) -> bool:
        if queue is self._questions:
            return self.window.affords(charge)
        return self.window.affords(charge, QUESTIONS if queue is self._urgent else RESERVE)

    async def _wait(self, waiter: _Waiter, demand: Demand | None) -> None:
        if demand is not None:
            demand.on_raise = lambda: self._raise(waiter)
        try:
            await waiter.served.wait()
        except trio.Cancelled:
            if waiter.first_id >= 0:
                self._on_unused(waiter.first_id, waiter.charge)
            elif waiter in (queue := self._queue(demand)):
                queue.remove(waiter)
                self.serve()
            raise
        finally:
            if demand is not None:
                demand.on_raise = None

    def _raise(self, waiter: _Waiter) -> None:
        """Somebody waits for it now."""
        if waiter in self._patient:
            self._patient.remove(waiter)
            self._urgent.append(waiter)
            self.serve()

    def serve(self) -> None:
        """Wake whom the credits on hand allow. Call after every grant."""
        window = self.window
        while queue := self._next():
            if self._affords(queue[0].charge, queue):
                waiter = queue.popleft()
                waiter.first_id = window.take(waiter.charge)
                waiter.served.set()
                if queue is self._questions and self._urgent:
                    self._urgent[0].overtaken += 1
            elif not window.idle:
                return
            elif window.available <= 0:
                self._on_starved()
                return
            else:
                waiter = queue.popleft()
                waiter.refused = True
                waiter.served.set()

    def _next(self) -> deque[_Waiter]:
        """Whose turn it is; an empty queue if nobody waits."""
        if self._urgent and (not self._questions or self._urgent[0].overtaken >= OVERTAKEN):
            return self._urgent
        return self._questions or self._patient

    def fail(self, error: NetfsError) -> None:
        """End all waiters, now and later, with ``error``."""
        self._error = error
        for queue in (self._questions, self._urgent, self._patient):
            for waiter in queue:
                waiter.served.set()
            queue.clear()
