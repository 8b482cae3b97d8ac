"""How long a server may leave a request unanswered. One for each connection.

- Silence: nothing at all comes for ``idle_deadline`` seconds while an answer is due. The connection
  is dead, whether a caller still waits for that answer or not.
- Nothing is taken: the socket took no byte of a WRITE that waits for it for ``idle_deadline``
  seconds, and nothing came. How long a WRITE waits while bytes go is no sign of anything: an answer
  is due from when the socket has all of it.
- Passed over: requests sent long after this one were answered, and it was not. Its answer is lost,
  and only the end of the connection gives its buffer and credits back.
- STATUS_PENDING: the server has the request, and may be at it for a while. After ``PENDING``
  seconds the caller that waits is told, and the request is cancelled.
- Cancelled, and not answered within ``idle_deadline``: the server ignores it, so the connection is
  given up, with all that the request holds.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping

import trio

from netfsfuse.errors import Disconnected
from netfsfuse.smb.connection.exchange import Pending
from netfsfuse.smb.connection.intake import Intake
from netfsfuse.smb.connection.outbox import Outbox

PENDING = 30.0
"""Seconds, as long as any call on the mount may take."""

_PASSED_OVER = 3
"""Idle deadlines: a slow link or disk may hold up one answer for long while others come."""


class Liveness:
    """``pending``: the transport's table, in the order in which it was sent. ``give_up`` ends the
    waiting for one of its entries. ``answered``: when the request was sent that was sent last of
    those that are answered (trio clock)."""

    def __init__(
        self,
        pending: Mapping[int, Pending],
        intake: Intake,
        outbox: Outbox,
        idle_deadline: float,
        give_up: Callable[[int, Pending], None],
    ) -> None:
        self.answered = 0.0
        self._pending = pending
        self._intake = intake
        self._outbox = outbox
        self._idle_deadline = idle_deadline
        self._give_up = give_up
        self._asked = trio.Event()

    def asked(self) -> None:
        """Something was asked of the server."""
        self._asked.set()

    def heard(self, entry: Pending) -> None:
        """``entry`` is answered."""
        if math.inf > entry.since > self.answered:
            self.answered = entry.since

    async def run(self) -> None:
        """Watch until the connection is to be given up: raises Disconnected."""
        while True:
            await self._asked.wait()
            until = self._look(trio.current_time())
            if until is None:
                self._asked = trio.Event()
                continue
            await trio.sleep_until(until)

    def _look(self, now: float) -> float | None:
        """When to look again; None when nothing has a limit. Raises Disconnected."""
        due: Pending | None = None
        waiting = False  # for the socket
        until: float | None = None
        held_up: set[int] = set()  # compounds of which one request is PENDING, which holds the rest
        for message_id, entry in list(self._pending.items()):
            if entry.is_due:
                if entry.since == math.inf:
                    waiting = True
                elif id(entry.together) not in held_up:
                    due = due or entry
                continue
            if entry.interim:
                held_up.add(id(entry.together))
            if not entry.request.standing:
                limit = min(self._pending_until(message_id, entry, now), now + self._often)
                until = limit if until is None else min(until, limit)
        if waiting:
            limit = self._waiting_until(now)
            until = limit if until is None else min(until, limit)
        if due is not None:
            limit = self._due_until(due, now)
            until = limit if until is None else min(until, limit)
        return until

    @property
    def _often(self) -> float:
        """Seconds after which to look again at the latest, since something may be due by then."""
        return self._idle_deadline / 4

    def _pending_until(self, message_id: int, entry: Pending, now: float) -> float:
        if entry.cancelled_at is None and now >= entry.since + PENDING:
            self._give_up(message_id, entry)
        if entry.cancelled_at is None:
            return entry.since + PENDING
        until = entry.cancelled_at + self._idle_deadline
        if now >= until:
            raise Disconnected(
                f"no answer to a cancelled {entry.request.command.name} "
                f"for {self._idle_deadline:g} s"
            )
        return until

    def _waiting_until(self, now: float) -> float:
        until = max(self._outbox.moved_at, self._intake.received_at) + self._idle_deadline
        if now >= until:
            raise Disconnected(f"the server takes nothing for {self._idle_deadline:g} s")
        return min(until, now + self._often)

    def _due_until(self, due: Pending, now: float) -> float:
        if self.answered - due.since >= _PASSED_OVER * self._idle_deadline:
            raise Disconnected(f"a {due.request.command.name} was passed over")
        silent_since = max(due.since, self._intake.received_at)
        silence = now - silent_since
        if silence >= self._idle_deadline:
            raise Disconnected(f"no word from the server for {self._idle_deadline:g} s")
        warning = self._idle_deadline / 2
        if silence >= warning:
            self._intake.wake_on_any_byte()
            warning = self._idle_deadline
        return silent_since + warning
