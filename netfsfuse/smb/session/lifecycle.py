"""PURE: the life of a session's connection after the first one: when it is made again, and what
those who wait are told. ``redial`` carries the actions out; ``refusals`` says before each attempt
whether the server may be asked at all.

========  =========  ========================================================  ========
state     event      action                                                    next
========  =========  ========================================================  ========
LIVE      begin      dial; be patient for ``OUTAGE_PATIENCE`` from now on      DIALLING
OUTAGE    begin      dial; the patience goes on as it was                      DIALLING
DIALLING  connected  tell that it is there; the outage is over                 LIVE
DIALLING  failed     while patient: pause, twice as long each time, and dial   DIALLING
DIALLING  failed     no longer patient: tell Disconnected                      OUTAGE
DIALLING  refused    tell Barred                                               OUTAGE
DIALLING  given up   tell Disconnected                                         OUTAGE
any       close      no attempt any more; tell Disconnected                    CLOSED
========  =========  ========================================================  ========

Anything else is a fault of the caller's, and raises ValueError; a closed one stays closed whatever
is reported of the attempt that was under way.
"""

from __future__ import annotations

import enum

OUTAGE_PATIENCE = 5.0
"""Seconds from the first attempt to connect again in which a server that refuses is asked again: a
restart of smbd takes it away for 0.1 to 2 s, and a reader shall not notice. In an outage that lasts
longer each request makes one attempt, and fails at once."""
FIRST_PAUSE, LONGEST_PAUSE = 0.1, 1.0


class State(enum.Enum):
    """LIVE also before it is known that the connection was lost."""

    LIVE = enum.auto()
    DIALLING = enum.auto()
    OUTAGE = enum.auto()
    CLOSED = enum.auto()


class Lifecycle:
    """The state of one session. ``now`` are seconds on one clock that never goes back."""

    __slots__ = ("_patient_until", "_pause", "state")

    def __init__(self) -> None:
        self.state = State.LIVE
        self._patient_until = 0.0
        self._pause = FIRST_PAUSE

    def begin(self, now: float) -> bool:
        """A request needs a connection: an attempt is to be made. Whether an outage begins."""
        self._expect(State.LIVE, State.OUTAGE)
        begins = self.state is State.LIVE
        if begins:
            self._patient_until = now + OUTAGE_PATIENCE
        self._pause = FIRST_PAUSE
        self.state = State.DIALLING
        return begins

    def connected(self) -> None:
        """The attempt has succeeded."""
        self._end(State.LIVE)

    def failed(self, now: float) -> float | None:
        """It has failed. Seconds after which to dial once more; None: tell those who wait."""
        if self.state is State.DIALLING and now + self._pause <= self._patient_until:
            pause, self._pause = self._pause, min(2 * self._pause, LONGEST_PAUSE)
            return pause
        self._end(State.OUTAGE)
        return None

    def refused(self) -> None:
        """The server refuses us: no patience helps."""
        self._end(State.OUTAGE)

    def given_up(self) -> None:
        """The attempt was ended from outside, or failed in a way that nobody foresaw."""
        self._end(State.OUTAGE)

    def close(self) -> None:
        """The mount is going away. Idempotent."""
        self.state = State.CLOSED

    def _end(self, state: State) -> None:
        if self.state is not State.CLOSED:
            self._expect(State.DIALLING)
            self.state = state

    def _expect(self, *states: State) -> None:
        if self.state not in states:
            raise ValueError(f"not in state {self.state.name}")
