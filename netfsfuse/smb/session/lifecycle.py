"""PURE: the life of the connection of one mount: when it is made, when the server is left alone,
and what the requests that wait are told. ``connector`` carries the actions out; the handshake
behind DIAL is ``dialler``'s.

A refusal stands beside the states: the server may refuse the mount at its own connection or at a
further one (``channels``), and whichever it was, none of them asks while it stands. It stands for a
while only, 5 s, 20 s, 80 s, at last 10 minutes after a refused login, 1 minute where it was
something else, and ends once a connection is made; a person ends it by mounting anew. Each attempt
is a login: made for each request of each program, it would lock the account within a second of a
change of its password.

==========  =================  =========================  ============  ==========
state       event              where                      action        next
==========  =================  =========================  ============  ==========
NEW         begin              no refusal stands          DIAL          CONNECTING
NEW         begin              a refusal stands           BARRED        REFUSED
UP          begin              no refusal stands          DIAL          CONNECTING
UP          begin              a refusal stands           BARRED        REFUSED
DOWN        begin              no refusal stands          DIAL          CONNECTING
DOWN        begin              a refusal stands           BARRED        REFUSED
REFUSED     begin              no refusal stands          DIAL          CONNECTING
REFUSED     begin              a refusal stands           BARRED        REFUSED
CONNECTING  connected          always                     READY         UP
CONNECTING  failed             within the outage's time   PAUSE         CONNECTING
CONNECTING  failed             after it                   DISCONNECTED  DOWN
CONNECTING  paused             no refusal stands          DIAL          CONNECTING
CONNECTING  paused             a refusal stands           BARRED        REFUSED
CONNECTING  refused            always                     BARRED        REFUSED
CONNECTING  given_up           always                     DISCONNECTED  DOWN
REFUSED     further_connected  always                     NONE          DOWN
any other   further_connected  always                     NONE          the same
any         further_refused    always                     NONE          the same
any         close              always                     DISCONNECTED  GONE
GONE        begin              always                     DISCONNECTED  GONE
==========  =================  =========================  ============  ==========

Anything else is a fault of the caller's, and raises ValueError; but in GONE, whatever is reported
of the attempt that was under way changes nothing, and is answered DISCONNECTED.

The outage's time begins with the ``begin`` that leaves UP and lasts ``OUTAGE_TIMEOUT``. The first
connection has none: its failure is the user's to see.
"""

from __future__ import annotations

import enum

from netfsfuse.errors import LoginRefused, Refused

OUTAGE_TIMEOUT = 5.0
"""Seconds from the first attempt to connect again in which a server that does not answer is asked
again: a restart of smbd takes it away for 0.1 to 2 s, and a reader shall not notice. In an outage
that lasts longer each request makes one attempt, and fails at once."""
FIRST_PAUSE, LONGEST_PAUSE = 0.1, 1.0

REFUSAL_FIRST, REFUSAL_GROWTH = 5.0, 4.0
REFUSAL_LONGEST, REFUSAL_LONGEST_LOGIN = 60.0, 600.0


class State(enum.Enum):
    """UP also before it is known that the connection was lost."""

    NEW = enum.auto()
    CONNECTING = enum.auto()
    UP = enum.auto()
    DOWN = enum.auto()
    REFUSED = enum.auto()
    GONE = enum.auto()


class Action(enum.Enum):
    """What an event asks of the connector."""

    DIAL = enum.auto()
    PAUSE = enum.auto()  # for ``Lifecycle.pause`` seconds, then report ``paused``
    READY = enum.auto()  # tell the waiting requests that there is a connection
    DISCONNECTED = enum.auto()  # tell them that there is none
    BARRED = enum.auto()  # tell them of ``Lifecycle.refusal``
    NONE = enum.auto()


class Lifecycle:
    """The state of one mount's connection. ``now`` are seconds on one clock that never goes back.

    ``refusal`` is what the server refused last, None once it has let us in; ``was_up`` whether
    there was a connection ever; ``pause`` the seconds of the last PAUSE.
    """

    __slots__ = (
        "_outage_until",
        "_refused_until",
        "_standing",
        "pause",
        "refusal",
        "state",
        "was_up",
    )

    def __init__(self) -> None:
        self.state = State.NEW
        self.refusal: Refused | None = None
        self.was_up = False
        self.pause = 0.0
        self._outage_until = float("-inf")
        self._refused_until = 0.0
        self._standing = 0.0  # seconds for which the last refusal stands

    def standing(self, now: float) -> Refused | None:
        """The refusal for which the server is not asked now; None: ask."""
        return self.refusal if now < self._refused_until else None

    def begin(self, now: float) -> Action:
        """A request needs a connection, and no attempt is under way."""
        if self.state is State.GONE:
            return Action.DISCONNECTED
        self._expect(State.NEW, State.UP, State.DOWN, State.REFUSED)
        if self.state is State.UP:
            self._outage_until = now + OUTAGE_TIMEOUT
        self.pause = 0.0
        return self._dial(now)

    def connected(self) -> Action:
        """The attempt has succeeded: the outage is over, and any refusal."""
        if self._enter(State.UP):
            self.was_up = True
            self.refusal, self._standing = None, 0.0
            return Action.READY
        return Action.DISCONNECTED

    def failed(self, now: float) -> Action:
        """It has failed, for a reason that may pass by itself."""
        pause = min(2 * self.pause, LONGEST_PAUSE) or FIRST_PAUSE
        if self.state is State.CONNECTING and now + pause <= self._outage_until:
            self.pause = pause
            return Action.PAUSE
        self._enter(State.DOWN)
        return Action.DISCONNECTED

    def paused(self, now: float) -> Action:
        """The pause that :meth:`failed` asked for is over."""
        if self.state is State.GONE:
            return Action.DISCONNECTED
        self._expect(State.CONNECTING)
        return self._dial(now)

    def refused(self, refusal: Refused, now: float) -> Action:
        """The server refuses us."""
        if self._enter(State.REFUSED):
            self._stand(refusal, now)
            return Action.BARRED
        return Action.DISCONNECTED

    def given_up(self) -> Action:
        """The attempt was ended from outside, or failed in a way that was not foreseen."""
        self._enter(State.DOWN)
        return Action.DISCONNECTED

    def further_connected(self) -> Action:
        """The server has let a further connection in: it refuses us no more."""
        self.refusal, self._standing = None, 0.0
        if self.state is State.REFUSED:
            self.state = State.DOWN
        return Action.NONE

    def further_refused(self, refusal: Refused, now: float) -> Action:
        """The server has refused a further connection. What is up stays up."""
        self._stand(refusal, now)
        return Action.NONE

    def close(self) -> Action:
        """The mount is going away. Idempotent."""
        self.state = State.GONE
        return Action.DISCONNECTED

    def stands_for(self, now: float) -> float:
        """Seconds for which the refusal stands yet; 0 when none does."""
        return max(self._refused_until - now, 0.0) if self.refusal is not None else 0.0

    def _dial(self, now: float) -> Action:
        if self.standing(now) is not None:
            self.state = State.REFUSED
            return Action.BARRED
        self.state = State.CONNECTING
        return Action.DIAL

    def _stand(self, refusal: Refused, now: float) -> None:
        login = isinstance(refusal, LoginRefused)
        longest = REFUSAL_LONGEST_LOGIN if login else REFUSAL_LONGEST
        self._standing = min(self._standing * REFUSAL_GROWTH or REFUSAL_FIRST, longest)
        self.refusal, self._refused_until = refusal, now + self._standing

    def _enter(self, state: State) -> bool:
        """End the attempt in ``state``; False, and nothing done, where the mount is gone."""
        if self.state is State.GONE:
            return False
        self._expect(State.CONNECTING)
        self.state = state
        return True

    def _expect(self, *states: State) -> None:
        if self.state not in states:
            raise ValueError(f"not in state {self.state.name}")
