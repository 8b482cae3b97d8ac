"""Whether the cache is to be used now, and the log lines about that. Pure, clock passed in.

No space stops storing for a while; reading what is there goes on. A failed filesystem (EIO, EROFS)
ends the cache for this mount: going on would cost every reader a slow failure, and the mount reads
as well without. Whoever reads the log sees each of these once.
"""

from __future__ import annotations

import logging
from collections.abc import Callable

from cachefiles import CacheDead, CacheError, NoSpace

log = logging.getLogger(__name__)

NO_SPACE_PAUSE = 30.0
"""Seconds between two tries on a full disk. A try costs one failing call; somebody who makes room
sees the cache fill again before having walked to the next machine."""


class Health:
    """Fed with every error; asked before every use."""

    def __init__(self, clock: Callable[[], float]) -> None:
        self._clock = clock
        self._dead = False
        self._full_until: float | None = None
        self._said: set[type[Exception]] = set()

    @property
    def dead(self) -> bool:
        """Whether the cache is over for this mount."""
        return self._dead

    @property
    def storing(self) -> bool:
        """Whether to try to store now."""
        if self._dead:
            return False
        return self._full_until is None or self._clock() >= self._full_until

    def failed(self, error: CacheError) -> None:
        """Take note of an error."""
        if isinstance(error, CacheDead):
            self._dead = True
            self._say(CacheDead, f"the cache is given up, reading goes on without it: {error}")
        elif isinstance(error, NoSpace):
            self._full_until = self._clock() + NO_SPACE_PAUSE
            self._say(NoSpace, f"nothing is stored in the cache until there is room: {error}")
        else:
            self._say(CacheError, f"the cache failed, reading goes on: {error}")

    def broken(self, error: Exception) -> None:
        """An exception that no cache should raise: our own fault. End the cache, not the mount."""
        self._dead = True
        log.error("the cache is given up, reading goes on without it", exc_info=error)

    def stored(self) -> None:
        """Take note of a successful store."""
        self._full_until = None

    def _say(self, kind: type[Exception], line: str) -> None:
        log.log(logging.DEBUG if kind in self._said else logging.WARNING, "%s", line)
        self._said.add(kind)
