"""One cached file: what is asked of it on the loop, what goes to a thread, and what together.

Invariant: nothing here raises but for cancellation. A cache that fails says "not stored".
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Generic, Protocol, TypeVar

import cachefiles
from netfsfuse.fscache import cookie
from netfsfuse.fscache.batch import Batch, Piece, Take
from netfsfuse.fscache.health import Health
from netfsfuse.fscache.threads import Threads
from netfsfuse.fscache.whole import WholeFile
from netfsfuse.stats import CacheStats
from netfsfuse.types import ByteRange, FileAttr, coherency_of, same_content

READS = 2
"""Hops at once that read, of a file. A second one keeps the disk busy while hashes are made."""

STORES = 2
"""Hops at once that store, of a file, eight stores under way. One costs 0.29 CPU seconds per GiB at
1.3 GB/s, two 0.36 at 1.5, three alone without sharing 0.48 at 1.7. One falls behind where the
machine is busy: between the end of a hop and the next there is nothing for the disk."""

INLINE_MAX = 128 * 1024
"""Bytes: copying and hashing them takes 30 us of the loop, a tenth of what a hop costs."""

T = TypeVar("T")


class MountCache(Protocol):
    """The cache of the mount, as its files see it. ``volume`` is None when it is closed."""

    volume: cachefiles.Volume | None
    health: Health
    stats: CacheStats
    threads: Threads

    @property
    def room(self) -> bool:
        """Whether a store is worth its hop."""
        ...

    def may_open(self) -> bool:
        """Whether one more object may be held open: each takes descriptors."""
        ...

    def holds(self, count: int) -> None:
        """So many more are held open, or fewer."""
        ...

    def stored(self, *, done: bool) -> None:
        """A store came back, ``done`` or not."""
        ...

    def used(self, key: bytes) -> None:
        """The object was used without being opened."""
        ...

    async def drop(self, dropped: cachefiles.Object) -> None:
        """Close ``dropped`` some time soon."""
        ...

    def forget(self, key: bytes, file: CachedFile) -> None:
        """``file`` is closed, or its key is another now."""
        ...

    def begin_changes(self, key: bytes, file: CachedFile) -> None:
        """``file`` is about to be changed: all others of its key are over."""
        ...

    def restamped(self, key: bytes, file: CachedFile) -> None:
        """``file`` has this key and another record now: what has the key and another is over."""
        ...

    async def store_later(self, file: WholeFile, data: memoryview) -> bool:
        """Store ``data``, all of ``file``, some time soon; False when there is no room for it."""
        ...

    def failed(self, error: Exception) -> None:
        """Count and judge an error."""
        ...


@dataclass(slots=True)
class _Done(Generic[T]):
    """What a hop brings back: what it opened, if it had to, and its result or its error."""

    opened: cachefiles.Object | None = None
    replaced: bool = False
    value: T | None = None
    error: Exception | None = None


class CachedFile:
    """``CacheObject`` of one acquire, of a file that is only read (``changes.py``: of any); the
    first call that needs its backing file opens it."""

    __slots__ = (
        "_closed",
        "_object",
        "_owner",
        "_reads",
        "_stores",
        "_where",
        "attr",
        "coherency",
        "key",
        "superseded",
    )

    def __init__(self, owner: MountCache, attr: FileAttr, where: str) -> None:
        self.coherency = coherency_of(attr)
        self.superseded = False  # acquired again under other content
        self._owner = owner
        self._where = where
        self.key = cookie.object_key(attr, where)
        self.attr = attr
        self._object: cachefiles.Object | None = None
        self._closed = False
        self._reads = Batch(self._read_pieces, READS)
        self._stores = Batch(self._store_pieces, STORES)

    async def query_occupancy(self, start: int, end: int) -> list[ByteRange]:
        """Which parts of ``[start, end)`` are stored; a hint, :meth:`read` has the last word."""
        if not self._may_hold_data:
            return []
        found = await self._call(lambda file: file.occupancy(start, end))
        return [] if found is None or self._over else [ByteRange(*extent) for extent in found]

    async def read(self, start: int, target: memoryview) -> bool:
        """Fill ``target`` with verified bytes; False, and it is undefined, if any is missing."""
        filled = self._may_hold_data and (
            self._read_now(start, target) or await self._reads.transfer(start, target)
        )
        return self._was_read(target, filled=filled)

    def _was_read(self, target: memoryview, *, filled: bool) -> bool:
        stats = self._owner.stats
        if not filled or self._over:
            stats.misses += 1
            return False
        stats.bytes_read += len(target)
        return True

    async def write(self, start: int, data: memoryview) -> bool:
        """Store whole blocks; False when they are not: no room, an error, or another record."""
        owner = self._owner
        if self._over or not owner.room:
            owner.stats.refused += not self._over
            return False
        done = await self._stores.transfer(start, data)
        owner.stored(done=done)
        if not done:
            return False
        owner.stats.bytes_stored += len(data)
        return True

    async def aclose(self) -> None:
        """Let the object go. Idempotent. Usually without a thread; shielded where it needs one."""
        if self._closed:
            return
        self._closed = True
        self._owner.forget(self.key, self)
        if self._object is None:
            self._owner.used(self.key)
        await self._let_go()

    async def _let_go(self) -> None:
        if self._object is not None:
            held, self._object = self._object, None
            self._owner.holds(-1)
            await self._owner.drop(held)

    def _hold(self, opened: cachefiles.Object) -> None:
        self._object = opened
        self._owner.holds(1)

    def renamed(self, where: str) -> None:
        """It is at ``where`` now, from the share's root. For one that is being changed: what it is
        called is asked at the end."""
        self._where = where

    @property
    def changing(self) -> bool:
        """Whether what is stored is for this acquire only: then no call opens it as it was."""
        return False

    @property
    def _over(self) -> bool:
        owner = self._owner
        return self._closed or self.superseded or owner.volume is None or owner.health.dead

    @property
    def _may_hold_data(self) -> bool:
        if self._over or self._owner.health.hangs:
            return False
        return self._object is None or self._object.has_files

    def _read_now(self, start: int, target: memoryview) -> bool:
        """Read what needs no wait, here on the loop. False: ask a thread, which finds out why."""
        if self._object is None or len(target) > INLINE_MAX:
            return False
        try:
            return self._object.read_now(start, target)
        except Exception as error:
            self._owner.failed(error)
            return False

    async def _read_pieces(self, take: Take) -> None:
        await self._carry(take, lambda file, piece: file.read(piece.start, piece.memory))

    async def _store_pieces(self, take: Take) -> None:
        await self._carry(
            take, lambda file, piece: file.write(piece.start, piece.memory), storing=True
        )

    async def _carry(
        self,
        take: Take,
        transfer: Callable[[cachefiles.Object, Piece], bool],
        *,
        storing: bool = False,
    ) -> None:
        """A :data:`batch.Carry`: the first piece that fails ends the hop."""
        pieces: list[Piece] = []

        def work(file: cachefiles.Object) -> None:
            for piece in pieces:
                piece.done = transfer(file, piece)

        await self._call(work, storing=storing, begin=lambda: pieces.extend(take()))

    async def _call(
        self,
        work: Callable[[cachefiles.Object], T],
        *,
        storing: bool = False,
        begin: Callable[[], None] = lambda: None,
    ) -> T | None:
        """``work`` on the backing file in a thread; None when that failed, which is noted, or when
        too many are open already."""
        if self._object is None and not self._owner.may_open():
            begin()
            return None
        try:
            done = await self._owner.threads.run(
                lambda: self._in_thread(work), storing=storing, begin=begin
            )
        except cachefiles.CacheError as error:
            done = _Done(error=error)
        if done.replaced:
            self._owner.stats.invalidated += 1
        if done.error is not None:
            self._owner.failed(done.error)
        if done.opened is not None:
            if self._object is None and not self._closed and not self.changing:
                self._hold(done.opened)
            else:  # two calls opened it at once, or it was closed or changed meanwhile
                await self._owner.drop(done.opened)
        return done.value

    def _in_thread(self, work: Callable[[cachefiles.Object], T]) -> _Done[T]:
        done = _Done[T]()
        volume = self._owner.volume
        if volume is None:  # closed while this call waited
            return done
        try:
            file = self._object
            if file is None:
                if self.changing:
                    return done
                file, found = self._open(volume)
                if found is cachefiles.Found.NOTHING and self._described.adopt(volume):
                    file.close()
                    file, found = self._open(volume)
                done.opened = file
                done.replaced = found is cachefiles.Found.REPLACED
            done.value = work(file)
        except Exception as error:  # anything: a read must not fail because its cache did
            done.error = error
        return done

    @property
    def _described(self) -> WholeFile:
        return WholeFile.at(self.attr, self._where)

    def _open(self, volume: cachefiles.Volume) -> tuple[cachefiles.Object, cachefiles.Found]:
        record = cookie.coherency_bytes(self.attr)
        label = cookie.label(self._where)
        return volume.open(self.key, self.attr.size, record, self._matches, label=label)

    def _matches(self, stored: bytes) -> bool:
        known = cookie.coherency_from(stored)
        return known is not None and same_content(known, self.attr)
