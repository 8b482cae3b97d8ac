"""A file as its handles share it: opened under one coherency record, given up as a whole.

Life: made by :meth:`Netfs.inode`, opened any number of times, perhaps retired, closed by its
maker when the last handle is gone.
"""

from __future__ import annotations

import trio

from netfsfuse.netfs.io.contents import Contents
from netfsfuse.netfs.io.issue import Issuer
from netfsfuse.netfs.ops import CacheObject, ServerFile, WritableFile
from netfsfuse.netfs.read.read import NetfsFile
from netfsfuse.netfs.write.outlet import Outlet
from netfsfuse.netfs.write.write import Writing
from netfsfuse.types import FileAttr


class NetfsInode(Contents):
    """One file. Owns ``cache`` from here on and closes it."""

    def __init__(
        self,
        issuer: Issuer,
        outlet: Outlet,
        *,
        i_size: int,
        cache: CacheObject | None,
        debug_name: str,
    ) -> None:
        super().__init__(
            i_size=i_size,
            cache=cache,
            pool=issuer.pool,
            nursery=issuer.nursery,
            slow_cache=issuer.slow_cache,
            debug_name=debug_name,
        )
        self._issuer = issuer
        self._outlet = outlet
        self.writing: Writing | None = None
        """Set while the file is open for writing: reads are then :meth:`Writing.read`."""
        self.stamp: FileAttr | None = None
        """What the server's file is since it was written here: at the inode's end what is stored in
        its cache object is found again under that."""
        self._owned_cache = cache
        self._closed: trio.Event | None = None

    def open(self, file: ServerFile) -> NetfsFile:
        """A handle that asks the server through ``file``, which the caller closes afterwards."""
        if self._closed is not None:
            raise RuntimeError("open on a closed inode")
        self.readers += 1
        return NetfsFile(self, self._issuer, file)

    def begin_writing(self, file: WritableFile, *, behind: bool) -> Writing:
        """All that is written to the file goes through ``file`` from now on, until the caller has
        closed what this returns; ``behind``: after the writer was answered."""
        if self._closed is not None or self.writing is not None:
            raise RuntimeError("an inode that is closed, or being written already")
        self.prefill = None
        self.stamp = None
        self.writing = Writing(
            self, file, self._outlet, behind=behind, on_closed=self._ended_writing
        )
        return self.writing

    def _ended_writing(self) -> None:
        self.writing = None

    def fill(self, prefill: memoryview) -> None:
        """``prefill`` is all of the file, as it is under this inode's record: reads are answered
        from it, and neither cache nor server is asked. It must not change. Raises ValueError if it
        has not the file's size; ignored once retired, and while it is written."""
        if len(prefill) != self.i_size:
            raise ValueError(f"{len(prefill)} bytes for a file of {self.i_size}")
        if not self.retired and self.writing is None:
            self.prefill = prefill

    def retire(self) -> None:
        """The server's file is another now: drop what is in memory, leave the cache alone.

        Readers that wait already may still be answered by what they wait for. From here on every
        read goes straight to the server through its own handle, is not cut at ``i_size``, and is
        kept nowhere. Idempotent.
        """
        self.retired = True
        self.prefill = None
        self.mapping.clear()

    @property
    def closes_at_once(self) -> bool:
        """Whether :meth:`aclose` would wait for nothing: no task works for it, and there is no
        cache object to be closed."""
        return not self._tasks and self._owned_cache is None and self.writing is None

    def close_at_once(self) -> None:
        """As :meth:`aclose`, where :attr:`closes_at_once`; without a checkpoint."""
        if self._closed is None:
            self._closed = trio.Event()
            self._closed.set()
            self.mapping.clear()
            if self.prefill is None:  # else it took no buffers
                self._issuer.pool.trim()

    async def aclose(self) -> None:
        """All handles are closed: wait until nothing is dirty, and for the stores, free the
        buffers, close the cache object.

        Idempotent. Cancelled: it goes on in the service nursery.
        """
        if self._closed is not None:
            await self._closed.wait()
            return
        self._closed = closed = trio.Event()
        self.mapping.clear()
        if self._tasks or self.writing is not None:
            self._issuer.nursery.start_soon(self._finish, closed)
            await closed.wait()
        else:
            await self._finish(closed)

    async def _finish(self, closed: trio.Event) -> None:
        try:
            if self.writing is not None:
                await self.writing.aclose()
                self.mapping.clear()
            await self.wait_idle()
            cache = self.cache
            if self.stamp is not None and cache is not None and not self.retired:
                await cache.restamp(self.stamp)
        finally:
            try:
                if self._owned_cache is not None:
                    await self._owned_cache.aclose()
            finally:
                self._issuer.pool.trim()
                closed.set()
