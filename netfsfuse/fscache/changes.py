"""A cached file that can be changed: ``CacheObject`` whole.

From :meth:`ChangeableFile.begin_changes` to :meth:`~ChangeableFile.restamp` what is stored is for
this acquire alone. What is stored of a small file is in memory (``small.py``) and is stored along
with others at the end; a larger one has a ``cachefiles.ChangingObject``, made when more than the
first block is to be stored, or taken over with all that was stored before.

Order. Stores, discards and changes of size that overlap come one after another as they were called
(``turns.py``), so that no store that was on its way brings a discarded block back.

What costs no hop to a thread: to begin with an empty file; all of a small file; to discard what was
never stored; to grow, where no last block was stored that ended at the old size; to end with
nothing stored.

Time. A write waits for ``begin_changes``, ``discard`` and ``resize``. A disk that takes longer than
``CACHE_TIMEOUT`` for one of them loses the object, and the write goes on. What a thread does late
is harmless: it marks an object, or drops it, or finishes one whose last change has been told.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import TypeVar

import trio

import cachefiles
from netfsfuse.fscache import cookie
from netfsfuse.fscache.file import CachedFile, MountCache
from netfsfuse.fscache.small import SMALL_MAX, SmallContent
from netfsfuse.fscache.turns import ALL, Turns
from netfsfuse.fscache.whole import WholeFile
from netfsfuse.netfs.io.slow_cache import CACHE_TIMEOUT
from netfsfuse.types import CACHE_BLOCK, ByteRange, FileAttr, coherency_of

FINISH_TIMEOUT = 10.0
"""Seconds for ``restamp``, which may have to sync. No write waits for it, and an open of the file
only for ``CACHE_TIMEOUT``."""

T = TypeVar("T")


class ChangeableFile(CachedFile):
    """As :class:`CachedFile`. While it is changed: ``_size`` bytes, as the last call said, and
    ``_small`` as long as there is no object of its own."""

    __slots__ = ("_begun", "_size", "_small", "_turns")

    def __init__(self, owner: MountCache, attr: FileAttr, where: str) -> None:
        super().__init__(owner, attr, where)
        self._begun = False
        self._size = attr.size
        self._small: SmallContent | None = None
        self._turns = Turns()

    @property
    def changing(self) -> bool:
        """Whether what is stored is for this acquire only."""
        return self._begun and not self._over

    async def query_occupancy(self, start: int, end: int) -> list[ByteRange]:
        """As ``CacheObject`` says."""
        if self._small is None:
            return await super().query_occupancy(start, end)
        return [] if self._over else self._small.occupancy()

    async def read(self, start: int, target: memoryview) -> bool:
        """As ``CacheObject`` says."""
        if self._small is None:
            return await super().read(start, target)
        return self._was_read(target, filled=self._small.read(start, target))

    async def write(self, start: int, data: memoryview) -> bool:
        """As ``CacheObject`` says. False for what is not made of blocks of the file as it is."""
        if self._begun and self._object is None and self._size > SMALL_MAX:
            call = self._turns.enter(*ALL)  # it will make the object
        else:
            call = self._turns.enter(start, start + len(data))
        try:
            if self._begun:
                await self._turns.wait(call)
                if self._small is not None and self._size <= SMALL_MAX:
                    return not self._over and self._small.write(start, data)
                if self._object is None and not await self._make_object():
                    return False
            return await super().write(start, data)
        finally:
            self._turns.leave(call)

    async def begin_changes(self) -> bool:
        """As ``CacheObject`` says. What is stored is taken over; of a file of at most a block it is
        dropped, which costs less than to mark it."""
        if self._over or self._begun:
            return not self._over
        self._owner.begin_changes(self.key, self)
        self._begun = True
        return await self._in_turn(ALL, self._begin)

    async def discard(self, start: int, end: int) -> bool:
        """As ``CacheObject`` says."""

        async def discard() -> bool:
            if self._small is not None:
                if start < CACHE_BLOCK and start < end:
                    self._small.discard()
                return True
            return await self._change(
                lambda file: file.discard(start, end), lambda file: file.discards_at_once(start)
            )

        return await self._in_turn((start, -(-end // CACHE_BLOCK) * CACHE_BLOCK), discard)

    async def resize(self, size: int) -> bool:
        """As ``CacheObject`` says."""
        first = min(size, self._size) // CACHE_BLOCK * CACHE_BLOCK
        self._size = size

        async def resize() -> bool:
            if self._small is not None:
                self._small.resize(size)
                return True
            return await self._change(
                lambda file: file.resize(size), lambda file: file.resizes_at_once(size)
            )

        return await self._in_turn((first, ALL[1]), resize)

    async def restamp(self, attr: FileAttr) -> bool:
        """As ``CacheObject`` says; also where no changes were begun: then the content is what it
        was. A small file is stored along with others, soon."""

        async def restamp() -> bool:
            if attr.size != self._size:
                return False
            if not self._begun:
                return await self._renew(attr)
            return await self._finish(attr)

        return await self._in_turn(ALL, restamp, FINISH_TIMEOUT)

    async def aclose(self) -> None:
        """As ``CacheObject`` says."""
        self._small = None
        await super().aclose()

    async def _in_turn(
        self,
        range_: tuple[int, int],
        work: Callable[[], Awaitable[bool]],
        timeout: float = CACHE_TIMEOUT,
    ) -> bool:
        """``work`` in its turn; where that does not succeed within ``timeout`` the object is over.
        No checkpoint but for what is waited for."""
        if self._over:
            return False
        call = self._turns.enter(*range_)
        done = False
        try:
            with trio.move_on_after(timeout):
                await self._turns.wait(call)
                done = not self._over and await work()
        finally:
            self._turns.leave(call)
            if not done:
                self.superseded = True
        return not self._over

    async def _begin(self) -> bool:
        await self._let_go()
        if self.attr.size:
            opened = await self._take_over(keep=True)
            if opened is None:
                return False
            if self.attr.size > SMALL_MAX:
                self._hold(opened)
                return True
            await self._owner.drop(opened)
        self._small = SmallContent(self.attr.size)
        return True

    async def _make_object(self) -> bool:
        """An object of its own for what is more than one block; no other call is under way. What
        was held of the first goes along."""
        small = self._small
        if small is None:
            return False
        held = small.data
        opened = await self._take_over(keep=False, size=small.size, held=held)
        if opened is None:
            return False
        self._hold(opened)
        self._small = None
        return True

    async def _take_over(
        self, *, keep: bool, size: int | None = None, held: bytes | None = None
    ) -> cachefiles.ChangingObject | None:
        """The object for our changes, of ``size`` bytes by now, with ``held`` as its first block;
        without ``keep`` nothing of before. None where there is none to be had."""
        attr = self.attr
        made: list[cachefiles.ChangingObject] = []
        late = False

        def take_over() -> None:
            volume = self._owner.volume
            if volume is None:  # closed while this call waited
                return
            if keep and not volume.holds(self.key):
                self._described.adopt(volume)
            opened = volume.begin_changes(
                self.key,
                attr.size,
                cookie.coherency_bytes(attr),
                self._matches,
                label=cookie.label(self._where),
                keep=keep,
            )
            made.append(opened)
            if size is not None:
                opened.resize(size)
            if held is not None:
                opened.write(0, memoryview(held))
            if late:
                opened.close()

        if not self._owner.may_open():
            return None
        try:
            await self._hop(take_over, None)
            if made and not self._over:
                return made.pop()
            return None
        finally:
            late = True
            if made:
                await self._owner.drop(made.pop())

    async def _change(
        self,
        change: Callable[[cachefiles.ChangingObject], bool],
        at_once: Callable[[cachefiles.ChangingObject], bool],
    ) -> bool:
        file = self._object
        if not isinstance(file, cachefiles.ChangingObject):
            return False
        if at_once(file):
            return change(file)
        return await self._hop(lambda: change(file), False)

    async def _finish(self, attr: FileAttr) -> bool:
        file, small = self._object, self._small
        if isinstance(file, cachefiles.ChangingObject):
            if file.has_files:
                key, record = cookie.object_key(attr, self._where), cookie.coherency_bytes(attr)
                changed = file
                if not await self._hop(lambda: changed.finish(key, record), False):
                    return False
            else:
                await self._let_go()
        data = small.data if small is not None and small.size <= SMALL_MAX else None
        self._become(attr)
        if data is not None:
            await self._owner.store_later(WholeFile.at(attr, self._where), memoryview(data))
        return True

    async def _renew(self, attr: FileAttr) -> bool:
        await self._let_go()
        before = self.attr
        key, record = cookie.object_key(attr, self._where), cookie.coherency_bytes(attr)

        def renew() -> bool:
            volume = self._owner.volume
            return volume is not None and volume.restamp(
                self.key, before.size, self._matches, to_key=key, to_coherency=record
            )

        if not await self._hop(renew, False):
            return False
        self._become(attr)
        return True

    async def _hop(self, work: Callable[[], T], failed: T) -> T:
        """``work`` in a thread; ``failed`` where it fails, which is noted. Cancelled, it is left to
        the thread."""
        try:
            return await self._owner.threads.ask(work)
        except Exception as error:  # anything: a write must not fail because its cache did
            self._owner.failed(error)
            return failed

    def _become(self, attr: FileAttr) -> None:
        """Go on as one that was acquired under ``attr``."""
        self._begun, self._small, self._size = False, None, attr.size
        self._owner.forget(self.key, self)
        self.attr, self.coherency = attr, coherency_of(attr)
        self.key = cookie.object_key(attr, self._where)
        self._owner.restamped(self.key, self)
