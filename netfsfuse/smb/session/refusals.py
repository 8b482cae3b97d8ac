"""PURE: when to ask a server again that has refused a mount.

Each attempt is a login: made for each request of each program, it locks the account within a
second of a change of its password. So a refusal stands for a while, in which everybody is told of
it and nobody asks: 5 s, 20 s, 80 s, at last 10 minutes after a refused login, 1 minute where it was
something else. A person ends it by mounting anew.
"""

from __future__ import annotations

from netfsfuse.errors import LoginRefused, Refused

FIRST_PAUSE = 5.0
GROWTH = 4.0
LONGEST_PAUSE = 60.0
LONGEST_LOGIN_PAUSE = 600.0


class Refusals:
    """What the server refused last. All times are seconds on one clock that never goes back."""

    def __init__(self) -> None:
        self.last: Refused | None = None
        self._until = 0.0
        self._pause = 0.0

    def refuse(self, refusal: Refused, now: float) -> float:
        """It refused again: the seconds for which that stands."""
        most = LONGEST_LOGIN_PAUSE if isinstance(refusal, LoginRefused) else LONGEST_PAUSE
        self._pause = min(self._pause * GROWTH or FIRST_PAUSE, most)
        self.last, self._until = refusal, now + self._pause
        return self._pause

    def accept(self) -> None:
        """It let us in."""
        self.last, self._pause = None, 0.0

    def standing(self, now: float) -> Refused | None:
        """The refusal that everybody is told of now; None: ask."""
        return self.last if now < self._until else None
