"""Waiting for credits, in order of arrival, demand before readahead.

The arithmetic is :class:`~netfsfuse.smb.credits.CreditWindow`'s. A large request at the head of its
queue is not overtaken by smaller ones behind it, or it would wait for ever.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field

import trio

from netfsfuse.errors import NetfsError
from netfsfuse.smb.credits import CreditWindow

RESERVE = 4
"""Credits that readahead leaves for look-ups and for reads that somebody waits for."""


@dataclass(slots=True)
class _Waiter:
    charge: int
    served: trio.Event = field(default_factory=trio.Event)
    first_id: int = -1


class CreditGate:
    """Gives out MessageIds for credits.

    ``on_unused(first_id, charge)`` is called when MessageIds were given to a caller that is
    cancelled already: an id that is never sent would stall the server's window for ever.
    """

    def __init__(self, window: CreditWindow, on_unused: Callable[[int, int], None]) -> None:
        self.window = window
        self._on_unused = on_unused
        self._urgent: deque[_Waiter] = deque()
        self._patient: deque[_Waiter] = deque()
        self._error: NetfsError | None = None

    @property
    def largest_charge(self) -> int:
        """Credits that one request may cost without waiting for ever."""
        return max(1, self.window.usable - RESERVE)

    async def take(self, charge: int, *, urgent: bool) -> int:
        """First of ``charge`` consecutive MessageIds. Raises the error given to ``fail``."""
        if self._error is not None:
            raise self._error
        ahead = self._urgent or (not urgent and self._patient)
        if not ahead and self.window.affords(charge, 0 if urgent else RESERVE):
            return self.window.take(charge)
        queue = self._urgent if urgent else self._patient
        waiter = _Waiter(charge)
        queue.append(waiter)
        try:
            await waiter.served.wait()
        except trio.Cancelled:
            if waiter.first_id >= 0:
                self._on_unused(waiter.first_id, charge)
            elif waiter in queue:
                queue.remove(waiter)
                self.serve()
            raise
        if self._error is not None:
            raise self._error
        return waiter.first_id

    def serve(self) -> None:
        """Wake whom the credits on hand allow. Call after every grant."""
        while self._urgent and self.window.affords(self._urgent[0].charge):
            self._serve(self._urgent.popleft())
        while (
            not self._urgent
            and self._patient
            and self.window.affords(self._patient[0].charge, RESERVE)
        ):
            self._serve(self._patient.popleft())

    def _serve(self, waiter: _Waiter) -> None:
        waiter.first_id = self.window.take(waiter.charge)
        waiter.served.set()

    def fail(self, error: NetfsError) -> None:
        """End all waiters, now and later, with ``error``."""
        self._error = error
        for waiter in (*self._urgent, *self._patient):
            waiter.served.set()
        self._urgent.clear()
        self._patient.clear()
