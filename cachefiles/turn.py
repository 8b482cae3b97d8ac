"""Taking turns with other processes: the flock of an open file, waited for with an end.

A process that is stopped (SIGSTOP, a debugger, a frozen container) keeps its locks. Waiting it out
is worth it once; every caller after that would wait as long, for as long as it is stopped. So a
lock that was waited for in vain is only asked for, without a wait, until it was had again.
"""

from __future__ import annotations

import errno
import time
from collections.abc import Iterator
from contextlib import contextmanager

from cachefiles.backing import Filesystem

_RETRY = 0.0005  # seconds; what a lock is held for takes tens of microseconds


class Turn:
    """Of the file open as ``fd``, which is borrowed. Safe to use from several threads, one at a
    time: they share the opening, so a lock between them is the caller's."""

    def __init__(self, filesystem: Filesystem, fd: int) -> None:
        self._filesystem = filesystem
        self._fd = fd
        self._in_vain = False

    @contextmanager
    def taken(self, timeout: float) -> Iterator[None]:
        """Hold the lock alone. ``TimeoutError`` when others have it for ``timeout`` seconds, and
        at once when they had it for so long before and have it still."""
        end = time.monotonic() + (0.0 if self._in_vain else timeout)
        while not self._filesystem.lock(self._fd):
            if time.monotonic() >= end:
                self._in_vain = True
                raise TimeoutError(errno.ETIMEDOUT, "another process holds it for too long")
            time.sleep(_RETRY)
        self._in_vain = False
        try:
            yield
        finally:
            self._filesystem.unlock(self._fd)
