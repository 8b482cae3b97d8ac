"""What the layers above are told of the server's reach: one value, its changes, and doubts.

The session says here what becomes of its connection; the readers of it are vfs's.
"""

from __future__ import annotations

import math
from collections.abc import Callable

import trio

from netfsfuse.types import Reach

_VOUCHED = 0.25
"""Seconds for which ``vouch`` is not asked again: ``is_heard`` stands on each look-up."""


class ServerReach:
    """Fits vfs's ``Reachability``. DOWN before the first connection. ``vouch`` tells whether the
    server would have told by now of what it is to tell by itself; it is asked now and then.
    ``progress`` is what vfs's ``progress`` says."""

    def __init__(
        self, vouch: Callable[[], bool] = lambda: True, progress: Callable[[], object] = lambda: 0
    ) -> None:
        self._vouch = vouch
        self.progress = progress
        self._vouched_until = -math.inf
        self._until = math.inf
        self._reach = Reach.DOWN
        self._not_up = trio.Event()
        self._not_up.set()
        self._since = -math.inf
        self._doubts: list[Callable[[], None]] = []

    @property
    def reach(self) -> Reach:
        """Whether the server can be asked now."""
        return self._reach

    @property
    def since(self) -> float:
        """When the outage began (trio clock); inf while it is UP."""
        return self._since

    def become(self, reach: Reach, since: float = math.inf, until: float = math.inf) -> None:
        """It is ``reach`` from now on. If that is not UP, it was so already ``since`` then, and a
        question waits for it ``until`` then."""
        self._since = math.inf if reach is Reach.UP else since
        self._until = until if reach in (Reach.SUSPECT, Reach.DOWN) else -math.inf
        self._reach = reach
        self._vouched_until = -math.inf
        if reach is not Reach.UP:
            self._not_up.set()
        elif self._not_up.is_set():
            self._not_up = trio.Event()

    def waits_until(self) -> float:
        """Until when (trio clock) a question that the server alone can answer waits for it."""
        return math.inf if self._reach is Reach.UP else self._until

    def is_heard(self) -> bool:
        """Whether what the server would have told by itself has been told."""
        if self._reach is not Reach.UP:
            return False
        now = trio.current_time()
        if now < self._vouched_until:
            return True
        if not self._vouch():
            return False
        self._vouched_until = now + _VOUCHED
        return True

    def vouch_anew(self) -> None:
        """What was vouched for a moment ago is so no more."""
        self._vouched_until = -math.inf

    async def wait_not_up(self) -> None:
        """Return once it is not UP; at once if it is not."""
        await self._not_up.wait()

    def on_doubt(self, doubt: Callable[[], None]) -> None:
        """Have ``doubt`` called when what was vouched for may have changed unannounced."""
        self._doubts.append(doubt)

    def doubt(self) -> None:
        """What watches and leases have vouched for so far may have changed unannounced."""
        for each in self._doubts:
            each()
