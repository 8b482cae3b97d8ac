"""Cache operations that take too long: while there is one, the cache is passed by.

The cache may fail, the read may not, and a disk that hangs is the worst way of failing: it raises
nothing. A reader waits ``CACHE_TIMEOUT`` for a cache operation, then gives it up (:meth:`give_up`)
and asks the server. Until the operation returns after all, no other reader asks the cache: one disk
serves all of it, and each would wait as long.
"""

from __future__ import annotations

CACHE_TIMEOUT = 2.0
"""Seconds. A cache read takes well under 1 ms a MiB; a disk that must spin up first takes longer
than this, and the server answers meanwhile."""


class SlowCache:
    """The operations given up and not returned. One per mount."""

    __slots__ = ("_overdue",)

    def __init__(self) -> None:
        self._overdue: set[object] = set()

    @property
    def bypass(self) -> bool:
        """Whether the cache should not be asked now."""
        return bool(self._overdue)

    def give_up(self, operation: object) -> None:
        """``operation`` (anything hashable by identity) is overdue."""
        self._overdue.add(operation)

    def returned(self, operation: object) -> None:
        """``operation`` ended. To be called for each one, given up or not."""
        self._overdue.discard(operation)
