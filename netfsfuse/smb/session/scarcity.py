"""A server that is short of handles, or lets us hold few.

An open that it refuses for that reason is tried once more, when handles of ours that no caller
needs have given way: first those that are kept for the next open, then those by which directories
are watched. For ``LASTS`` seconds from then on none of either kind is kept."""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import Protocol

import trio

log = logging.getLogger(__name__)

LASTS = 60.0


class Watching(Protocol):
    """A handle by which a directory is watched."""

    def give_way(self) -> None:
        """Close it, before anything that is asked from here on; the watch's owner is told."""
        ...


class Scarcity:
    """Of one share. Each of ``close_parked`` closes handles that no open file uses, and says how
    many."""

    def __init__(self) -> None:
        self.close_parked: list[Callable[[], int]] = []
        self.watches: set[Watching] = set()
        self._until = float("-inf")

    @property
    def lasts(self) -> bool:
        """Whether handles were short a moment ago."""
        return trio.current_time() < self._until

    def give_way(self) -> bool:
        """An open was refused for want of handles. Whether it may succeed now. Never waits."""
        known = self.lasts
        self._until = trio.current_time() + LASTS
        closed = sum(close() for close in self.close_parked)
        watches = [] if closed else list(self.watches)
        for watch in watches:
            watch.give_way()
        level = logging.DEBUG if known else logging.INFO
        log.log(
            level,
            "the server is short of handles: gave up %d that were kept and %d watches",
            closed,
            len(watches),
        )
        return known or bool(closed or watches)
