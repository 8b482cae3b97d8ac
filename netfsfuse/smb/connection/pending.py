"""The requests that are not answered yet, by MessageId, and what each holds meanwhile: its credits
in the window, its buffer, its place in the mount's figures.

Credits come back with an interim or the final reply, whichever brings them, and once. The buffer
is held until the entry leaves the table: a reply may land in it at any moment before, and of a
WRITE's the server may not have all yet.
"""

from __future__ import annotations

from collections.abc import Sequence

import trio

from netfsfuse.smb.connection.accounting import Accounting
from netfsfuse.smb.connection.credits import CreditWindow
from netfsfuse.smb.connection.exchange import Exchange, Pending, Request


class PendingTable(dict[int, Pending]):
    """In the order in which they were sent. Entries come by :meth:`enter`, and go by :meth:`leave`
    or :meth:`release`."""

    __slots__ = ("_accounting", "_window")

    def __init__(self, window: CreditWindow, accounting: Accounting) -> None:
        super().__init__()
        self._window = window
        self._accounting = accounting

    def enter(self, requests: Sequence[Request], exchange: Exchange, first_id: int) -> list[int]:
        """Requests that are about to be sent together; returns their MessageIds, which begin with
        ``first_id`` and go by what each costs. Holds their buffers."""
        ids = []
        now = trio.current_time()
        for index, request in enumerate(requests):
            if request.sink is not None:
                request.sink.buffer.hold()
            elif request.source is not None:
                request.source.buffer.hold()
            self[first_id] = Pending(request, exchange, index, now, requests)
            ids.append(first_id)
            first_id += request.charge
            self._accounting.sent(request)
        return ids

    def leave(self, message_id: int) -> None:
        """The final answer is there."""
        self._let_go(self.pop(message_id))

    def release(self) -> None:
        """Nothing can be received any more: give all credits and buffers back, and end the callers
        that wait, who find their replies missing."""
        entries = list(self.values())
        self.clear()
        for entry in entries:
            self._let_go(entry)
            if entry.exchange is not None:
                entry.exchange.done.set()

    def settle_credits(self, entry: Pending) -> None:
        """What ``entry`` has cost is back. Idempotent."""
        if not entry.settled:
            entry.settled = True
            if entry.request.standing:
                self._window.standing -= 1
            self._window.settle(entry.request.charge)

    @property
    def only_standing(self) -> bool:
        """Whether no answer is to be expected to any of them."""
        return all(entry.request.standing for entry in self.values())

    def _let_go(self, entry: Pending) -> None:
        request = entry.request
        if not entry.settled:
            self.settle_credits(entry)
        self._accounting.left(request)
        if request.sink is not None:
            request.sink.buffer.drop()
        elif request.source is not None:
            request.source.buffer.drop()
