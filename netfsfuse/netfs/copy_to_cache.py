"""Storing what came from the server, behind the readers' back.

The task that filled a subrequest goes on to store it from the same buffer, after its readers have
been woken. Until that is done the task's buffer reference keeps the bytes in memory, so nobody
fetches them again. How many bytes can wait here is bounded by the buffer budget: a cache slower
than the server slows readers down to its own pace (they wait for buffers); a cache that hangs does
not stop them (see ``pool.py``).
"""

from __future__ import annotations

import logging

import trio

from netfsfuse.netfs.contents import Contents
from netfsfuse.netfs.request import Subrequest

log = logging.getLogger(__name__)

STORES = 3
"""Stores at once. Two threads fill a disk (0.65 GB/s cold through the whole mount, measured with
two); the third covers gaps, and one of the cache's four threads stays free for reads."""


class CopyToCache:
    """The stores of one mount."""

    def __init__(self) -> None:
        self.pending = 0
        """Subrequests that wait for their store, or are being stored."""
        self._slots = trio.Semaphore(STORES)
        self._drained: trio.Event | None = None

    async def store(self, contents: Contents, sub: Subrequest) -> None:
        """Store a filled subrequest. Never raises but for cancellation: not stored is not fatal."""
        cache = contents.cache
        if cache is None:
            return
        self.pending += 1
        try:
            async with self._slots:
                if contents.live and await cache.write(sub.start, sub.buffer.payload[: sub.length]):
                    contents.occupancy.note(sub.start, sub.end, stored=True)
        except Exception:
            log.exception("%s: store failed", contents.debug_name)
        finally:
            self.pending -= 1
            if self._drained is not None and not self.pending:
                self._drained.set()
                self._drained = None

    async def drain(self) -> None:
        """Return when nothing waits to be stored."""
        while self.pending:
            if self._drained is None:
                self._drained = trio.Event()
            await self._drained.wait()
