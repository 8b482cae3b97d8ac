"""Whether the cache is to be used now, and the log lines about that. Pure, clock passed in.

No space (a full disk, a quota, a read-only filesystem) stops storing for a while; reading what is
there goes on. A failed filesystem (EIO, a device that is gone) stops both, for longer each time it
fails again: each try costs some reader a failed call, and the mount reads as well without. A disk
that hangs raises nothing: while a call has been under way for ``CACHE_TIMEOUT``, none is begun.
The log has one line when a failure begins and one when it is over.
"""

from __future__ import annotations

import logging
from collections.abc import Callable

from cachefiles import CacheDead, CacheError, NoSpace
from netfsfuse.netfs.io.slow_cache import CACHE_TIMEOUT

log = logging.getLogger(__name__)

NO_SPACE_PAUSE = 30.0
"""Seconds between two tries on a full disk. A try costs one failing call; a user who makes room
sees the cache fill again before having walked to the next machine."""

DEAD_PAUSE = 30.0
DEAD_PAUSE_MAX = 600.0
"""Seconds of the first and of the longest pause after the filesystem failed."""


class Health:
    """Fed with every call, error and success; asked before every use."""

    def __init__(self, clock: Callable[[], float]) -> None:
        self._clock = clock
        self._broken = False
        self._away_until = 0.0
        self._away_for = DEAD_PAUSE
        self._full_until: float | None = None
        self._said: set[type[Exception]] = set()
        self._under_way: dict[object, float] = {}  # since when; the oldest first
        self._hanging = False

    @property
    def dead(self) -> bool:
        """Whether the cache is not to be used at all now."""
        return self._broken or (self._away_until > 0 and self._clock() < self._away_until)

    @property
    def hangs(self) -> bool:
        """Whether nothing is to be asked now, because what was asked before does not come back."""
        since = next(iter(self._under_way.values()), None)
        hangs = since is not None and self._clock() - since >= CACHE_TIMEOUT
        if hangs is not self._hanging:
            self._hanging = hangs
            if hangs:
                log.warning("the cache's disk does not answer, reading goes on without the cache")
            else:
                log.info("the cache's disk answers again")
        return hangs

    def began(self, call: object) -> None:
        """``call`` to the disk is under way, in a thread."""
        self._under_way[call] = self._clock()

    def returned(self, call: object) -> None:
        """It has ended, well or not."""
        del self._under_way[call]

    @property
    def storing(self) -> bool:
        """Whether to try to store now."""
        if self.dead or self.hangs:
            return False
        return self._full_until is None or self._clock() >= self._full_until

    def failed(self, error: CacheError) -> None:
        """Take note of an error."""
        if isinstance(error, CacheDead):
            if not self.dead:  # and not one that was under way when the first failed
                self._away_until = self._clock() + self._away_for
                self._away_for = min(2 * self._away_for, DEAD_PAUSE_MAX)
            self._say(CacheDead, f"the cache is left alone, reading goes on without it: {error}")
        elif isinstance(error, NoSpace):
            self._full_until = self._clock() + NO_SPACE_PAUSE
            self._say(NoSpace, f"nothing is stored in the cache until there is room: {error}")
        else:
            self._say(CacheError, f"the cache failed, reading goes on: {error}")

    def broken(self, error: Exception) -> None:
        """An exception that no cache should raise: our own fault. End the cache, not the mount."""
        self._broken = True
        log.error("the cache is given up, reading goes on without it", exc_info=error)

    def stored(self) -> None:
        """Take note of a successful store: what was wrong is over."""
        self._full_until = None
        if self.dead:
            return  # it was under way when another call failed
        self._away_until, self._away_for = 0.0, DEAD_PAUSE
        over = self._said & {NoSpace, CacheDead}
        if over:
            self._said -= over
            log.info("the cache stores again")

    def _say(self, kind: type[Exception], line: str) -> None:
        level = logging.DEBUG if kind in self._said else logging.WARNING
        log.log(level, "%s", line, extra={"state": kind.__name__})
        self._said.add(kind)
