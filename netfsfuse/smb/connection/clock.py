"""PURE: the server's clock, as far as its answers have told it.

Only the answer to NEGOTIATE carries the server's time, so it is known once for each connection, and
from there on counted with CLOCK_BOOTTIME: that clock cannot be set, and it goes on while the
machine sleeps. Our own wall clock has no say: a laptop that woke with a wrong date, or is set right
by NTP after the mount, must not make a file that has just changed look old.
"""

from __future__ import annotations

import math
import time
from typing import NamedTuple

from netfsfuse.types import ServerTime

NEVER = -11_644_473_600.0
"""FILETIME 0: a server that does not state its time."""

DRIFT = 2e-4
"""Seconds that the two clocks may part in a second: twice what a bad quartz does."""


def boottime() -> float:
    """Seconds since this machine was started, those of its sleep included."""
    return time.clock_gettime(time.CLOCK_BOOTTIME)


class Reading(NamedTuple):
    """An answer that states the server's time: ``stated``, seconds since 1970, somewhere between
    ``asked`` and ``heard`` (:func:`boottime`)."""

    stated: float
    asked: float
    heard: float


class ServerClock:
    """What one server's clock shows. The last reading counts: the server's clock may be set, too,
    and nothing tells us of it before the next."""

    def __init__(self) -> None:
        self._reading: Reading | None = None

    def read(self, reading: Reading) -> None:
        """Take in an answer."""
        if reading.stated > NEVER and (
            self._reading is None or reading.heard >= self._reading.heard
        ):
            self._reading = reading

    def at(self, now: float) -> ServerTime:
        """Between which times the server's clock is at ``now`` (:func:`boottime`)."""
        if self._reading is None:
            return ServerTime(-math.inf, math.inf, math.inf)
        stated, asked, heard = self._reading
        age = max(0.0, now - heard)
        return ServerTime(
            stated + age * (1 - DRIFT), stated + (now - asked) * (1 + DRIFT), measured=age
        )

    def now(self) -> ServerTime:
        """The same, now."""
        return self.at(boottime())
