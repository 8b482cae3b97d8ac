"""Small files, stored and found whole, many in one hop to a thread; and files that were renamed.

A hop costs 200-300 us of CPU (``batch.py``), which is more than all else that is done for a file of
4 KiB. So what was read whole with its open is put in a queue, and the next hop takes all of
that along; and the files that a reader is about to open are looked up together.

A file that was renamed is in the same queue, since it may have been written a moment before: what
is kept of it is stored first, and found by its other key then.

The queue holds ``QUEUE_BYTES`` at most, the memory that the replies came in; a reader that would
fill it waits for ``ROOM_TIMEOUT``, then the file is not stored.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Protocol

import trio

import cachefiles
from netfsfuse.fscache import cookie
from netfsfuse.fscache.threads import Threads
from netfsfuse.types import FileAttr, same_content

QUEUE_BYTES = 16 << 20
QUEUE_FILES = 4096
HOP_FILES = 64
"""Files of one hop: some 10 ms of a thread that gives the interpreter's lock away all the time."""

ROOM_TIMEOUT = 0.2


@dataclass(frozen=True, slots=True)
class WholeFile:
    """A file as the server described it, by its cache key; ``label``: where it is on its share;
    ``former``: the key that it may have had."""

    key: bytes
    attr: FileAttr
    label: bytes
    former: bytes | None = None

    @classmethod
    def at(cls, attr: FileAttr, where: str) -> WholeFile:
        """The file described as ``attr`` at ``where``, from the share's root."""
        key, former = cookie.object_key(attr, where), cookie.former_key(attr, where)
        return cls(key, attr, cookie.label(where), former)

    def matches(self, stored: bytes) -> bool:
        """Whether data under the ``stored`` record is the file's content."""
        known = cookie.coherency_from(stored)
        return known is not None and same_content(known, self.attr)

    def adopt(self, volume: cachefiles.Volume) -> bool:
        """Have what is stored by its former key found by this one; whether there is any. Raises
        ``CacheError``."""
        if self.former is None:
            return False
        record = cookie.coherency_bytes(self.attr)
        return volume.restamp(
            self.former,
            self.attr.size,
            lambda stored: stored == record,
            to_key=self.key,
            to_coherency=record,
            label=self.label,
        )

    def open(
        self, volume: cachefiles.Volume, *, making: bool = False
    ) -> tuple[cachefiles.Object, cachefiles.Found]:
        """Its object; close it. ``making``: it is about to be stored. Raises ``CacheError``."""
        record = cookie.coherency_bytes(self.attr)
        return volume.open(
            self.key, self.attr.size, record, self.matches, label=self.label, making=making
        )


@dataclass(frozen=True, slots=True)
class _Stored:
    """All of a file, to be stored."""

    file: WholeFile
    data: memoryview

    def store(self, volume: cachefiles.Volume) -> bool:
        """Whether it is stored now. Raises ``CacheError``."""
        opened, found = self.file.open(volume, making=True)
        try:
            whole = [(0, len(self.data))]
            if found is cachefiles.Found.STORED and opened.occupancy(*whole[0]) == whole:
                return True
            return opened.write(0, self.data)
        finally:
            opened.close()


@dataclass(frozen=True, slots=True)
class Renamed:
    """A file that has become ``to``, with the same content."""

    file: WholeFile
    to: WholeFile

    def apply(self, volume: cachefiles.Volume) -> None:
        """What is stored of it is found as ``to``. Raises ``CacheError``."""
        file, to = self.file, self.to
        volume.restamp(
            file.key,
            file.attr.size,
            file.matches,
            to_key=to.key,
            to_coherency=cookie.coherency_bytes(to.attr),
            label=to.label,
        )


class WholeFilesCache(Protocol):
    """The cache of the mount, as it is seen from here."""

    volume: cachefiles.Volume | None
    threads: Threads

    @property
    def room(self) -> bool:
        """Whether a store is worth its hop."""
        ...

    def is_superseded(self, file: WholeFile) -> bool:
        """Whether the file is known by other attributes now."""
        ...

    def stored(self, *, done: bool) -> None:
        """A store came back, ``done`` or not."""
        ...

    def failed(self, error: Exception) -> None:
        """Count and judge an error."""
        ...


class WholeFiles:
    """The queue of one cache, and its look-ups. Lives on the loop.

    ``count`` hears of bytes stored and of bytes found."""

    def __init__(self, owner: WholeFilesCache, count: Callable[[int, int], None]) -> None:
        self._owner = owner
        self._count = count
        self._queue: deque[_Stored | Renamed] = deque()
        self._bytes = 0
        self._changed = trio.Event()
        self._storing = False
        self._scope = trio.CancelScope()
        self._ended: trio.Event | None = None

    async def store(self, file: WholeFile, data: memoryview) -> bool:
        """Store ``data``, all of ``file``, some time soon; False when there is no room for it."""
        if self._is_full(len(data)):
            with trio.move_on_after(ROOM_TIMEOUT):
                while self._is_full(len(data)):
                    await self._changed.wait()
        if self._is_full(len(data)) or not self._owner.room:
            return False
        self._queue.append(_Stored(file, data))
        self._bytes += len(data)
        self._wake()
        return True

    def renamed(self, renamed: Renamed) -> None:
        """A file has another key, some time soon; not where the queue is full. Never waits."""
        if len(self._queue) < QUEUE_FILES:
            self._queue.append(renamed)
            self._wake()

    def _is_full(self, length: int) -> bool:
        return len(self._queue) >= QUEUE_FILES or self._bytes + length > QUEUE_BYTES

    def _wake(self) -> None:
        self._changed.set()
        self._changed = trio.Event()

    async def run(self) -> None:
        """Store what is queued. A task; ends with :meth:`stop`."""
        self._ended = trio.Event()
        try:
            with self._scope:
                while True:
                    while self._queue:
                        await self._store_some()
                    await self._changed.wait()
        finally:
            self._ended.set()

    async def stop(self) -> None:
        """End :meth:`run`, and store what is queued still."""
        self._scope.cancel()
        if self._ended is not None:  # a hop of its own may be under way
            await self._ended.wait()
        while self._queue:
            await self._store_some()

    async def _store_some(self) -> None:
        taken: list[_Stored | Renamed] = []

        def begin() -> None:
            while self._queue and len(taken) < HOP_FILES:
                each = self._queue.popleft()
                if isinstance(each, _Stored):
                    self._bytes -= len(each.data)
                if not self._owner.is_superseded(each.file):
                    taken.append(each)
            self._wake()

        try:
            stored, errors = await self._owner.threads.run(
                partial(self._store, taken), storing=True, begin=begin
            )
        except cachefiles.CacheError as failed:
            stored, errors = [], [failed]
        for error in errors:
            self._owner.failed(error)
        if count := sum(isinstance(each, _Stored) for each in taken):
            self._owner.stored(done=len(stored) == count)
        self._count(sum(stored), 0)

    def _store(self, taken: Sequence[_Stored | Renamed]) -> tuple[list[int], list[Exception]]:
        """In a thread: the sizes of what is stored now, and what failed. One failure ends it."""
        stored: list[int] = []
        for each in taken:
            volume = self._owner.volume
            if volume is None:
                break
            try:
                if isinstance(each, Renamed):
                    each.apply(volume)
                elif each.store(volume):
                    stored.append(len(each.data))
            except Exception as error:  # anything: a read must not fail because its cache did
                return stored, [error]
        return stored, []

    async def load(self, files: Sequence[WholeFile | None]) -> list[memoryview | None]:
        """The content of each file that is stored whole and right; None for the others. None among
        ``files`` is not looked for."""
        try:
            found, errors = await self._owner.threads.ask(partial(self._load, files))
        except cachefiles.CacheError as failed:
            found, errors = [], [failed]
        for error in errors:
            self._owner.failed(error)
        self._count(0, sum(len(data) for data in found if data is not None))
        return found + [None] * (len(files) - len(found))

    def _load(
        self, files: Sequence[WholeFile | None]
    ) -> tuple[list[memoryview | None], list[Exception]]:
        """In a thread. Misses cost two calls each."""
        found: list[memoryview | None] = []
        for file in files:
            volume = self._owner.volume
            if volume is None:
                break
            try:
                there = file and (volume.holds(file.key) or file.adopt(volume))
                found.append(self._content(volume, file) if file and there else None)
            except Exception as error:
                return found, [error]
        return found, []

    def _content(self, volume: cachefiles.Volume, file: WholeFile) -> memoryview | None:
        opened, _ = file.open(volume)
        try:
            data = memoryview(bytearray(file.attr.size))
            return data if opened.read(0, data) else None
        finally:
            opened.close()
