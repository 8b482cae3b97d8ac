"""PURE: whether the server at the other end still lives, from what was sent and what came.

TCP tells of a death that was announced. One that was not (a cable, a machine without power, an
address that moved, a laptop that slept) shows as silence only, and so does a server that is at
work. An ECHO tells them apart: any server answers one at once, whatever else it is at. Counted are
seconds from the last sign of life: a byte that came, or some of ours that the peer took.

==================================  ===========================================================
silence                             what is done
==================================  ===========================================================
an answer due for ``overdue``       an ECHO is sent, whatever the server said of being at it
an ECHO due for half ``suspect``    DOUBTFUL: what is remembered serves better than a question
an ECHO due for ``suspect``         SUSPECT: another connection is to be tried
the same of any other answer        DOUBTFUL, SUSPECT ``overdue`` later than for an ECHO
nothing due, for ``echo_interval``  an ECHO is sent: of an idle connection's death nothing tells
anything due for ``idle_deadline``  the connection is given up
==================================  ===========================================================

Where bytes of ours wait and the peer's TCP goes on acknowledging, its machine lives and does not
get to taking them: a full disk cache, a slow link behind another machine. Then it is SUSPECT after
``_STUCK`` seconds only.

A lost answer: an ECHO is answered that was sent ``lost`` seconds after a request which is not.
A connection delivers in order, so that request's answer will not come any more, and only the end of
the connection gives its buffer and its credits back.
"""

from __future__ import annotations

import enum
import math
from typing import NamedTuple

_STUCK = 20.0
"""Seconds: a server's disk may take that long to make room for what was written (the kernel's own
limits on dirty pages stop a writer for 5 to 15 s)."""

_WAKE = 0.5
"""Seconds of silence after which each byte counts that the kernel would keep back to hand over many
at once."""


class Patience(NamedTuple):
    """Seconds. The defaults are the product's."""

    idle_deadline: float = 30.0
    echo_interval: float = 10.0
    overdue: float = 1.0
    suspect: float = 2.0
    lost: float = 10.0


class Pulse(enum.Enum):
    """What is believed of the server at the other end."""

    LIVE = enum.auto()
    DOUBTFUL = enum.auto()
    SUSPECT = enum.auto()


class Facts(NamedTuple):
    """What a connection looks like. All times are of one clock that never goes back."""

    heard_at: float
    """When a byte came last."""
    taken_at: float = -math.inf
    """When the peer last took some of what waited for it."""
    due: float | None = None
    """When the oldest request was sent whose answer is due."""
    delayed: float | None = None
    """The same of those that the server said to be at."""
    echo: float | None = None
    """When the oldest ECHO was sent that is not answered."""
    echoed: float = -math.inf
    """When that ECHO was sent which was answered last."""
    unsent: bool = False
    """``due`` is of bytes that wait for the socket, which takes none."""
    queued: bool = False
    """Bytes of ours wait, and the peer's TCP acknowledges."""


class Diagnosis(NamedTuple):
    """What follows. ``echo``: send one, and look again at once. ``wake``: count single bytes.
    ``until``: when to look again if nothing else happens. ``silent_since``: the beginning of the
    silence that ``pulse`` is judged by. ``dead``: why the connection is to be given up, or "".
    """

    pulse: Pulse
    until: float
    silent_since: float
    echo: bool = False
    wake: bool = False
    dead: str = ""


def judge(facts: Facts, patience: Patience, now: float) -> Diagnosis:
    """What to think and to do of a connection that looks like ``facts``."""
    heard = max(facts.heard_at, facts.taken_at)
    marks = [_echo_at(facts, patience, heard)]
    echo = now >= marks[0]
    pulse, silent_since, wake = Pulse.LIVE, heard, False
    for since, grace in ((facts.due, patience.overdue), (facts.echo, 0.0)):
        if since is None:
            continue
        begun = max(since, heard)
        suspect_at = begun + grace + patience.suspect
        doubtful_at = suspect_at - patience.suspect / 2
        if facts.queued:
            suspect_at = max(suspect_at, begun + _STUCK)
        dead_at = begun + patience.idle_deadline
        if now >= dead_at:
            words = "the server takes nothing" if facts.unsent else "no word from the server"
            words = f"{words} for {patience.idle_deadline:g} s"
            return Diagnosis(Pulse.SUSPECT, now, begun, dead=words)
        if now >= suspect_at:
            found = Pulse.SUSPECT
        else:
            found = Pulse.DOUBTFUL if now >= doubtful_at else Pulse.LIVE
        if found.value >= pulse.value:
            pulse, silent_since = found, begun
        wake = wake or now >= begun + _WAKE
        marks += (begun + _WAKE, doubtful_at, suspect_at, dead_at)
    if facts.due is not None and facts.echoed - facts.due >= patience.lost:
        return Diagnosis(pulse, now, silent_since, dead="an answer was lost")
    until = now if echo else min((mark for mark in marks if mark > now), default=math.inf)
    return Diagnosis(pulse, until, silent_since, echo, wake)


def _echo_at(facts: Facts, patience: Patience, heard: float) -> float:
    """When an ECHO is due to be sent; inf while one is not answered."""
    if facts.echo is not None:
        return math.inf
    times = [facts.heard_at + patience.echo_interval]
    if facts.due is not None:
        times.append(max(facts.due, heard) + patience.overdue)
        times.append(facts.due + patience.lost)
    if facts.delayed is not None:
        times.append(max(facts.delayed, heard) + patience.overdue)
    return min(times)
