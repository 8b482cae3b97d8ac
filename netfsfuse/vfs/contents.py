"""The data side of open files: one netfs inode for all handles of a file under one record.

An open that finds the server's file as it was known joins the content that is there. One that finds
it changed retires the old content first, before a byte is served: handles that have it go on by
their own server handles, straight to the server; and takes a new one. An open of a file whose last
change is so fresh that its times prove nothing gets a content of its own, which is never shared and
never cached; it is retired with the others, and when the file is written to here.

What came whole with an open (a small file) *prefills* its content, which then has no cache object:
it is taken and closed without waiting for any other.

The table outlives inodes: a content whose last handle is gone may still be storing when the kernel
has forgotten the inode, and its cache object must be closed before it is opened again. An open of
the file meanwhile waits for that for ``CACHE_TIMEOUT``, and then reads all from the server.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

import trio

from netfsfuse.netfs import Netfs, NetfsInode
from netfsfuse.netfs.io.slow_cache import CACHE_TIMEOUT
from netfsfuse.netfs.ops import CacheObject
from netfsfuse.types import Coherency, FileAttr, coherency_of, same_content


class CacheOps(Protocol):
    """What this layer asks of the cache."""

    async def acquire(self, attr: FileAttr, path: str) -> CacheObject | None:
        """The cache object for a file just opened; None: nothing of it can be cached. Never raises
        but for cancellation.
        """
        ...

    async def store_whole(self, attr: FileAttr, path: str, data: memoryview) -> None:
        """Store ``data``, all of a small file, some time soon; it must not change until then. May
        wait a moment for room. Never raises but for cancellation."""
        ...

    async def load_whole(self, files: Sequence[tuple[FileAttr, str]]) -> list[memoryview | None]:
        """All of each small file, as far as it is stored under these attributes, else None."""
        ...

    def renamed(self, before: FileAttr, path: str, attr: FileAttr, to: str) -> None:
        """A file that was ``before`` at ``path`` is ``attr`` at ``to``, by our own rename: what is
        kept of it is found there, soon. Never waits, never raises."""
        ...

    def mark_used(self, attr: FileAttr, path: str) -> None:
        """The file is used, and its object not asked for: it is not to be culled first."""
        ...


class Content:
    """One netfs inode and how many handles use it."""

    __slots__ = ("netfs", "record", "users")

    def __init__(self, netfs: NetfsInode, record: Coherency | None) -> None:
        self.netfs = netfs
        self.record = record
        self.users = 0


class _Slot:
    """The current content of one inode number, and those that are not ``shared``. ``lock`` orders
    opening and closing of it; ``hangs``: who waited for it last did so in vain."""

    __slots__ = ("content", "hangs", "lock", "unshared", "waiting")

    def __init__(self) -> None:
        self.content: Content | None = None
        self.unshared: set[Content] = set()
        self.hangs = False
        self.lock = trio.Lock()
        self.waiting = 0

    def retire_unshared(self, attr: FileAttr | None = None) -> None:
        """The file is not what it was when they were read; with ``attr``, those that were opened as
        anything else."""
        for content in self.unshared:
            if attr is None or not _fits(content, attr):
                content.netfs.retire()


class Contents:
    """Inode number -> content. ``cache`` is for whole files, which need no content."""

    def __init__(self, netfs: Netfs, cache: CacheOps) -> None:
        self._netfs = netfs
        self._slots: dict[int, _Slot] = {}
        self.cache = cache

    def prefilled(self, number: int, attr: FileAttr, path: str, prefill: memoryview) -> Content:
        """As ``acquire``, for a settled file all of whose bytes are at hand. No checkpoint, and no
        turn to be waited for: it opens no cache object."""
        slot = self._slots.get(number)
        if slot is None:
            slot = self._slots[number] = _Slot()
        current = slot.content
        if current is not None and _fits(current, attr):
            current.netfs.fill(prefill)
        else:
            if current is not None:
                current.netfs.retire()
            netfs = self._netfs.inode(
                i_size=attr.size, cache=None, debug_name=path, prefill=prefill
            )
            current = slot.content = Content(netfs, coherency_of(attr))
        current.users += 1
        return current

    async def acquire(self, number: int, attr: FileAttr, path: str, *, settled: bool) -> Content:
        """The content for one more handle of a file just opened as ``attr``; give it back with
        ``release``.
        """
        slot = self._slots.setdefault(number, _Slot())
        slot.waiting += 1
        try:
            if not await self._enter(slot):
                return self.stale(attr, path)
            try:
                return await self._take(slot, attr, path, settled)
            finally:
                slot.lock.release()
        finally:
            slot.waiting -= 1
            self._forget_slot(number, slot)

    async def acquire_writing(self, number: int, attr: FileAttr, path: str) -> Content:
        """As :meth:`acquire`, for the handle that is going to write. What came whole with an open
        has no cache object, and is given up; a content that is written to stays the file's whatever
        the server says of it."""
        slot = self._slots.get(number)
        if slot is not None:
            slot.retire_unshared()
            if slot.content is not None and slot.content.netfs.prefill is not None:
                self.retire(number)
        return await self.acquire(number, attr, path, settled=True)

    async def _enter(self, slot: _Slot) -> bool:
        """Take the slot's lock; False where it is not to be had."""
        if slot.hangs and slot.lock.locked():
            return False
        with trio.move_on_after(CACHE_TIMEOUT) as waiting:
            await slot.lock.acquire()
        slot.hangs = waiting.cancelled_caught
        return not slot.hangs

    async def _take(self, slot: _Slot, attr: FileAttr, path: str, settled: bool) -> Content:
        current = slot.content
        if current is None or not _fits(current, attr):
            if current is not None:
                current.netfs.retire()
                slot.content = None
            current = await self._open(attr, path, settled)
            if settled:
                if slot.content is not None:  # one that was prefilled meanwhile
                    slot.content.netfs.retire()
                slot.content = current
            else:
                slot.unshared.add(current)
        current.users += 1
        return current

    async def _open(self, attr: FileAttr, path: str, settled: bool) -> Content:
        cache = await self.cache.acquire(attr, path) if settled else None
        netfs = self._netfs.inode(i_size=attr.size, cache=cache, debug_name=path)
        return Content(netfs, coherency_of(attr))

    def stale(self, attr: FileAttr, path: str) -> Content:
        """A content for a handle whose file is known to have changed, or where no other is to be
        had: its reads all go to the server. Give it back with ``release``."""
        netfs = self._netfs.inode(i_size=attr.size, cache=None, debug_name=path)
        netfs.retire()
        content = Content(netfs, None)
        content.users = 1
        return content

    async def release(self, number: int, content: Content) -> None:
        """A handle is gone; the last one closes the content, stores included. Cancelled, the
        closing goes on in the service nursery.
        """
        content.users -= 1
        if content.users:
            return
        if (held := self._slots.get(number)) is not None:
            held.unshared.discard(content)
        if self._close_at_once(number, content):
            return
        slot = self._slots.setdefault(number, _Slot())
        slot.waiting += 1
        try:
            async with slot.lock:
                if not content.users:
                    await self._close(slot, content)
        except trio.Cancelled:
            # Its first steps come before any checkpoint, and the service nursery does the rest.
            if not content.users:
                await self._close(slot, content)
            raise
        finally:
            slot.waiting -= 1
            self._forget_slot(number, slot)

    def _close_at_once(self, number: int, content: Content) -> bool:
        """Whether it has no cache object, whose closing must be waited for, and is closed now."""
        if not content.netfs.closes_at_once:
            return False
        slot = self._slots.get(number)
        if slot is not None:
            if slot.content is content:
                slot.content = None
            self._forget_slot(number, slot)
        content.netfs.close_at_once()
        return True

    async def _close(self, slot: _Slot, content: Content) -> None:
        if slot.content is content:
            slot.content = None  # first: an open that has not waited for the lock must not join it
        await content.netfs.aclose()

    def retire(self, number: int) -> None:
        """The server's file changed, or another one has its number now, or was cut or extended here
        by its path, which times of the same tick do not show."""
        slot = self._slots.get(number)
        if slot is None:
            return
        slot.retire_unshared()
        if slot.content is not None:
            slot.content.netfs.retire()
            slot.content = None
            self._forget_slot(number, slot)

    def changed(self, number: int, attr: FileAttr) -> None:
        """The server described the file anew: a content of another record must not go on."""
        slot = self._slots.get(number)
        if slot is None:
            return
        if slot.content is not None and not _fits(slot.content, attr):
            self.retire(number)
        else:
            slot.retire_unshared(attr)

    def _forget_slot(self, number: int, slot: _Slot) -> None:
        unused = slot.content is None and not slot.unshared and not slot.waiting
        if unused and self._slots.get(number) is slot:
            del self._slots[number]


def _fits(content: Content, attr: FileAttr) -> bool:
    if content.netfs.writing is not None:
        return not content.netfs.retired
    return (
        not content.netfs.retired
        and content.record is not None
        and same_content(content.record, attr)
    )
