"""What the layers above are told of the server's reach: one value, its changes, and doubts.

The session says here what becomes of its connection; the readers of it are vfs's.
"""

from __future__ import annotations

import math
from collections.abc import Callable

import trio

from netfsfuse.types import Reach


class ServerReach:
    """Fits vfs's ``Reachability``. DOWN before the first connection."""

    def __init__(self) -> None:
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

    def become(self, reach: Reach) -> None:
        """It is ``reach`` from now on."""
        if reach is Reach.UP:
            self._since = math.inf
        elif self._reach is Reach.UP:
            self._since = trio.current_time()
        self._reach = reach
        if reach is not Reach.UP:
            self._not_up.set()
        elif self._not_up.is_set():
            self._not_up = trio.Event()

    def waits_until(self) -> float:
        """Until when (trio clock) a question that the server alone can answer waits for it."""
        return math.inf

    def is_heard(self) -> bool:
        """Whether what the server would have told by itself has been told."""
        return self._reach is Reach.UP

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
