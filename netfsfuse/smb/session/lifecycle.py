"""PURE: the life of the connection of one mount: when the server is dialled, and what the requests
that need it are told. ``connector`` carries it out; the handshake is ``dialler``'s.

==========  =================  ==========
state       event              next
==========  =================  ==========
NEW         begin              CONNECTING
CONNECTING  connected          UP
CONNECTING  failed             NEW
CONNECTING  refused            NEW
UP          suspected          SUSPECT
SUSPECT     recovered          UP
REFUSED     recovered          UP
UP          lost               DOWN
SUSPECT     lost               DOWN
REFUSED     lost               REFUSED
SUSPECT     connected          UP
DOWN        connected          UP
REFUSED     connected          UP
SUSPECT     failed             SUSPECT
DOWN        failed             DOWN
REFUSED     failed             DOWN
SUSPECT     refused            REFUSED
DOWN        refused            REFUSED
REFUSED     refused            REFUSED
REFUSED     further_connected  DOWN
any other   further_connected  the same
any         further_refused    the same
any         reset              the same
any         close              GONE
==========  =================  ==========

Anything else is a fault of the caller's, and raises ValueError; but in GONE whatever is reported
changes nothing. A loss while a refusal stands leads to REFUSED.

Dialling. While it is SUSPECT a rival connection is dialled, up to the point where the server has
shown that it lives; while it is DOWN, one in its place. The first attempt is made at once, the next
ones after pauses that grow from 0.1 s to 2 s and a random quarter more; also after two
connections that did not last. In an outage that no request asks about any more it is made each
30 s. A server that answers a new connection and then owes an answer again is left alone for ever
longer.

A refusal stands beside the states: the server may refuse the mount at its own connection or at a
further one (``channels``), and none of them asks while it stands: for 5 s, three times for 10 s,
then for 30 s and twice as long each time, up to 5 minutes after a refused login, 1 minute where it
was something else. Then the next request makes an attempt. Each attempt is a login: made for each
request, it would lock the account within a second of a change of its password. A person who has put
things right ends it (``reset``).

Requests. They are asked while it is UP. In an outage they wait, up to ``SOFT`` seconds from the
outage's beginning, and fail at once after that; where the mount is ``hard`` they wait for its end.
The outage begins with the silence that led to the suspicion, or with the loss.
"""

from __future__ import annotations

import enum
import math
import random
from collections.abc import Callable
from typing import NamedTuple

from netfsfuse.errors import LoginRefused, Refused

SOFT = 30.0
"""Seconds of an outage after which its requests fail: users of cifs and NFS know that wait."""

FIRST_PAUSE, LONGEST_PAUSE, JITTER = 0.1, 2.0, 0.25
"""A restart of smbd takes it away for 0.1 to 2 s, and a reader shall not notice."""

USEFUL_PAUSE = 0.2
"""Seconds after a connection that did not last but served: a line that alters a message now and
then still carries the others. One request may be what ends it each time."""

FORGOTTEN, FORGOTTEN_PAUSE = 60.0, 30.0
"""Seconds after which no request asks any more, and between attempts from then on."""

LASTING = 2.0
"""Seconds for which a connection lives that is not counted among the failures."""

BARREN, LONGEST_BARREN = 10.0, 20.0
"""A connection that is SUSPECT within so many seconds, and on which nothing was answered, has
brought nothing; and for how long at most no rival is dialled then."""

REFUSAL_FIRST = 5.0
_REFUSALS = (REFUSAL_FIRST, 10.0, 10.0, 10.0, 30.0)
REFUSAL_LONGEST, REFUSAL_LONGEST_LOGIN = 60.0, 300.0


class State(enum.Enum):
    """What is known of the connection."""

    NEW = enum.auto()
    CONNECTING = enum.auto()
    UP = enum.auto()
    SUSPECT = enum.auto()
    DOWN = enum.auto()
    REFUSED = enum.auto()
    GONE = enum.auto()


class Tell(enum.Enum):
    """What a request is told."""

    ASK = enum.auto()
    WAIT = enum.auto()
    FAIL = enum.auto()
    BARRED = enum.auto()
    GONE = enum.auto()


class Advice(NamedTuple):
    """``until``: when to ask again what to do, if nothing has changed by then."""

    tell: Tell
    until: float = math.inf


class Lifecycle:
    """The state of one mount's connection. ``now`` are seconds on one clock that never goes back;
    ``jitter`` gives numbers from 0 to 1. ``refusal`` is what the server refused last, None once it
    has let us in; ``outage_began`` is of the last outage."""

    __slots__ = (
        "_barren",
        "_connected_at",
        "_dial_at",
        "_hard",
        "_is_fleeting",
        "_jitter",
        "_pause",
        "_refusals",
        "_refused_at",
        "_refused_until",
        "_wanted_at",
        "outage_began",
        "refusal",
        "state",
    )

    def __init__(self, *, hard: bool = False, jitter: Callable[[], float] = random.random) -> None:
        self.state = State.NEW
        self.refusal: Refused | None = None
        self.outage_began = -math.inf
        self._hard = hard
        self._jitter = jitter
        self._pause = 0.0
        self._dial_at = math.inf
        self._connected_at = -math.inf
        self._is_fleeting = False  # the connection before this one did not last
        self._barren = 0
        self._wanted_at = -math.inf
        self._refusals = 0
        self._refused_at = self._refused_until = -math.inf

    # -- questions -----------------------------------------------------------------------------

    def standing(self, now: float) -> Refused | None:
        """The refusal for which the server is not asked now; None: ask."""
        return self.refusal if now < self._refused_until else None

    def stands_for(self, now: float) -> float:
        """Seconds for which the refusal stands yet; 0 when none does."""
        return max(self._refused_until - now, 0.0) if self.refusal is not None else 0.0

    def waits_until(self) -> float:
        """Until when a request waits for the server; inf while it is UP, or where all wait."""
        if self.state is State.UP or self._hard:
            return math.inf
        return self.outage_began + SOFT

    def may_ask_again(self, begun: float, now: float) -> bool:
        """Whether a request that was first asked at ``begun``, and was lost, may be asked again."""
        return self._hard or now < begun + SOFT

    def dial_at(self) -> float:
        """When to make the next attempt; inf: not before something happens."""
        if self.state in (State.SUSPECT, State.DOWN):
            return self._dial_at
        if self.state is State.REFUSED and self._wanted_at >= self._refused_until:
            return self._refused_until
        return math.inf

    def request(self, now: float) -> Advice:
        """A request needs the server: what to tell it."""
        if self.state is State.UP:
            return Advice(Tell.ASK)
        if self.state is State.GONE:
            return Advice(Tell.GONE)
        if self.state is State.REFUSED:
            if now < self._refused_until:
                return Advice(Tell.BARRED)
            self._wanted_at = now
            return Advice(Tell.WAIT)
        self._want(now)
        if now >= self.waits_until():
            return Advice(Tell.FAIL)
        return Advice(Tell.WAIT, self.waits_until())

    def _want(self, now: float) -> None:
        if now - self._wanted_at > FORGOTTEN and self._dial_at > now + LONGEST_PAUSE:
            self._dial_at = now
        self._wanted_at = now

    # -- events --------------------------------------------------------------------------------

    def begin(self) -> None:
        """The first connection is being made."""
        self._move({State.NEW: State.CONNECTING})

    def connected(self, now: float) -> None:
        """There is a connection: the outage is over, and any refusal."""
        before = (State.CONNECTING, State.SUSPECT, State.DOWN, State.REFUSED)
        if self._move(dict.fromkeys(before, State.UP)):
            self._connected_at = now
            self._let_in()

    def suspected(self, since: float, now: float, *, was_of_use: bool = False) -> None:
        """The server owes an answer, and was silent ``since`` then. ``was_of_use``: something was
        answered on the connection."""
        if not self._move({State.UP: State.SUSPECT}):
            return
        self._begin_outage(since, now)
        self._dial_at = max(now, self._refused_until)  # each dial is a login
        if now - self._connected_at < BARREN and not was_of_use:
            self._barren += 1
            self._dial_at += min(2.0**self._barren, LONGEST_BARREN)
        else:
            self._barren = 0

    def recovered(self) -> None:
        """It has spoken again, on the same connection."""
        self._move({State.SUSPECT: State.UP, State.REFUSED: State.UP})

    def lost(self, now: float, *, was_of_use: bool = False) -> None:
        """The connection has ended. ``was_of_use``: something was answered on it."""
        down = State.REFUSED if self.standing(now) else State.DOWN
        was = self.state
        moves = {State.UP: down, State.SUSPECT: down, State.REFUSED: State.REFUSED}
        if not self._move(moves) or was is State.REFUSED:
            return
        if was is State.UP:
            self._begin_outage(now, now)
        lasted = now - self._connected_at >= LASTING
        if lasted or not self._is_fleeting:
            self._pause = 0.0
            self._dial_at = now
        else:
            self._wait_for_next(now, LONGEST_PAUSE if not was_of_use else USEFUL_PAUSE)
        self._is_fleeting = not lasted

    def failed(self, now: float) -> None:
        """The attempt has failed, for a reason that may pass by itself."""
        moves = {
            State.CONNECTING: State.NEW,
            State.SUSPECT: State.SUSPECT,
            State.DOWN: State.DOWN,
            State.REFUSED: State.DOWN,
        }
        if self._move(moves):
            self._wait_for_next(now)

    def refused(self, refusal: Refused, now: float) -> None:
        """The server refuses us."""
        before = (State.SUSPECT, State.DOWN, State.REFUSED)
        moves = {State.CONNECTING: State.NEW, **dict.fromkeys(before, State.REFUSED)}
        if self._move(moves):
            self._stand(refusal, now)

    def further_connected(self) -> None:
        """The server has let a further connection in: it refuses us no more."""
        self._let_in()
        if self.state is State.REFUSED:
            self.state = State.DOWN
            self._dial_at = -math.inf

    def further_refused(self, refusal: Refused, now: float) -> None:
        """The server has refused a further connection. What is up stays up."""
        self._stand(refusal, now)

    def reset(self, now: float, *, forgive: bool = False) -> None:
        """The surroundings have changed: attempts are worth making again. ``forgive``: so are
        logins, since the credentials are others; else not within the first pause."""
        self._pause = 0.0
        self._dial_at = now
        self._wanted_at = max(self._wanted_at, now)
        if forgive:
            self._refusals, self._refused_until = 0, now
        else:
            earliest = self._refused_at + REFUSAL_FIRST
            self._refused_until = min(self._refused_until, max(earliest, now))
            self._wanted_at = max(self._wanted_at, self._refused_until)

    def close(self) -> None:
        """The mount is going away. Idempotent."""
        self.state = State.GONE

    # -- the rest ------------------------------------------------------------------------------

    def _move(self, moves: dict[State, State]) -> bool:
        """Go where ``moves`` lead from here; False, and nothing done, where the mount is gone."""
        if self.state is State.GONE:
            return False
        if self.state not in moves:
            raise ValueError(f"not in state {self.state.name}")
        self.state = moves[self.state]
        return True

    def _begin_outage(self, since: float, now: float) -> None:
        self.outage_began = since
        self._wanted_at = now

    def _wait_for_next(self, now: float, longest: float = LONGEST_PAUSE) -> None:
        self._pause = min(2 * self._pause, longest) or FIRST_PAUSE
        forgotten = now - self._wanted_at > FORGOTTEN
        pause = FORGOTTEN_PAUSE if forgotten else self._pause
        self._dial_at = now + pause * (1 + JITTER * self._jitter())

    def _let_in(self) -> None:
        self.refusal, self._refusals, self._refused_until = None, 0, -math.inf

    def _stand(self, refusal: Refused, now: float) -> None:
        beyond = max(self._refusals - len(_REFUSALS) + 1, 0)
        step = _REFUSALS[min(self._refusals, len(_REFUSALS) - 1)] * 2.0 ** min(beyond, 9)
        login = isinstance(refusal, LoginRefused)
        self._refusals += 1
        self.refusal, self._refused_at = refusal, now
        longest = REFUSAL_LONGEST_LOGIN if login else REFUSAL_LONGEST
        self._refused_until = now + min(step, longest)
