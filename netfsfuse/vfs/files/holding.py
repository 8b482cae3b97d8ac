"""Files that a program keeps open are held open on the server.

An open that costs no message leaves no handle there (``files.py``), and most files are closed
again at once. Of one that stays open the number could be given to a new file once its own is
deleted, and its bytes could not be asked for any more. So it is opened on the server when it has
been open here for ``HELD_AFTER``. No call waits for that, and a refusal is no call's error: a
reader of what is not at hand is told.
"""

from __future__ import annotations

import logging

import trio

from netfsfuse.errors import Disconnected, NetfsError
from netfsfuse.tasks import ServiceNursery
from netfsfuse.vfs.ops import OpenFile

log = logging.getLogger(__name__)

HELD_AFTER = 0.05
"""Seconds, to twice as many: ``grep`` has read a small file in a hundredth of that."""

_RETRY = 1.0
"""Seconds after which a file is tried again while the server cannot be reached."""

_AT_ONCE = 8


class Holding:
    """Opens files on the server that stay open here. ``nursery`` owns one task while any file
    waits, and those that open them; they end with :meth:`close`."""

    def __init__(self, nursery: ServiceNursery) -> None:
        self._nursery = nursery
        self._waiting: dict[OpenFile, float] = {}  # until when; in this order but for retries
        self._limit = trio.CapacityLimiter(_AT_ONCE)
        self._run_scope: trio.CancelScope | None = None
        self._closed = False

    def add(self, file: OpenFile) -> None:
        """A program has opened the file."""
        self._wait(file, HELD_AFTER)

    def discard(self, file: OpenFile) -> None:
        """The program has closed it."""
        self._waiting.pop(file, None)

    def close(self) -> None:
        """Hold nothing more."""
        self._closed = True
        self._waiting.clear()
        if self._run_scope is not None:
            self._run_scope.cancel()

    def _wait(self, file: OpenFile, seconds: float) -> None:
        if self._closed:
            return
        self._waiting[file] = trio.current_time() + seconds
        if self._run_scope is None:
            self._run_scope = trio.CancelScope()
            self._nursery.start_soon(self._run, self._run_scope)

    async def _run(self, scope: trio.CancelScope) -> None:
        """All that are due together, so that many short opens cost no wake-up each."""
        try:
            with scope:
                while self._waiting:
                    await trio.sleep(HELD_AFTER)
                    now = trio.current_time()
                    for file in [file for file, until in self._waiting.items() if until <= now]:
                        del self._waiting[file]
                        self._nursery.start_soon(self._hold, file)
        finally:
            self._run_scope = None

    async def _hold(self, file: OpenFile) -> None:
        async with self._limit:
            try:
                await file.hold()
            except Disconnected:
                self._wait(file, _RETRY)
            except NetfsError as refused:
                log.debug("a file is not held open on the server: %s", refused)
