"""Making room: the least recently used first, whole objects and cold parts of large ones.

One culler at a time has a cache, in whichever process: it holds the flock of ``DIR/cull``.
It works in steps of the length that the caller allows, so that it may run beside reads.

A walk over the cache (``walk.py``) fills a table of the ``TABLE`` oldest candidates and sets the
count of ``space.py`` right. Then candidates go, oldest first, until there is no excess:

- What is buried and still in use (``graveyard.py``) is punched empty before all else.
- An object with at most ``SEGMENT`` bytes on disk goes whole: removed, if no process has it open;
  punched empty, if one has.
- A larger one goes by segments of 4 MiB, by their own stamps: entries first, then the data, so that
  a reader that comes in between finds that the hash does not fit. The rest of it stays.
- One that was used after the walk saw it is passed over: it is not among the oldest any more. So is
  what is pinned.

What is left of the table serves the next time, for ``TABLE_LIFE``. Memory: 4,096 candidates of
some 300 bytes, and the names of one fan-out folder.
"""

from __future__ import annotations

import enum
import heapq
import struct
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from cachefiles import walk
from cachefiles.backing import Filesystem
from cachefiles.cache import Cache
from cachefiles.contentmap import BLOCK, ENTRY
from cachefiles.errors import translated
from cachefiles.folder import NO_FILE_OF_OURS, Doomed, Folder
from cachefiles.key import MAP_SUFFIX
from cachefiles.limits import Excess
from cachefiles.recency import SEGMENT, segment_blocks, stamps_at

TABLE = 4096
TABLE_LIFE = 60.0
"""Seconds after which the oldest are looked for anew."""

_WHOLE = -1


class Step(enum.Enum):
    """What one step of culling came to."""

    DONE = "done"  # no excess
    MORE = "more"  # to be continued
    STUCK = "stuck"  # excess, and nothing that may go
    BUSY = "busy"  # another culler is at work


Candidate = tuple[int, str, str, int, int]
"""(last use in ns, volume, path, segment or ``_WHOLE``, file size); the least is the oldest."""


class Culler:
    """Culls ``cache`` until ``excess()`` is nothing. For one thread at a time. Raises
    ``CacheError``; close it after that or not, it can go on.

    ``excess`` is the cache's limits by default; with ``recount`` it walks over the cache first;
    ``freed`` counts bytes since it was made, ``gone`` the objects buried.
    """

    def __init__(
        self, cache: Cache, excess: Callable[[], Excess] | None = None, *, recount: bool = False
    ) -> None:
        self.freed = 0
        self.gone = 0
        self._cache = cache
        self._filesystem: Filesystem = cache.filesystem
        self._excess = excess or cache.space.excess
        self._work: Iterator[Step] | None = None
        self._recount = recount
        self._table: list[Candidate] = []  # a heap
        self._table_until = 0.0
        self._held: set[str] = set()  # volumes that nothing can be removed from, this time

    @property
    def wanted(self) -> bool:
        """Whether a step has something to do, as far as is known. No I/O."""
        return self._work is not None or self._cache.space.culling or self._cache.space.stale

    def step(self, seconds: float) -> Step:
        """Work for about ``seconds``."""
        end = time.monotonic() + seconds
        if self._work is None:
            self._work = self._run()
        with translated("culling the cache"):
            try:
                for state in self._work:
                    if state is not Step.MORE:
                        self.close()
                        return state
                    if time.monotonic() >= end:
                        return Step.MORE
            except BaseException:
                self.close()
                raise
        self.close()
        return Step.DONE

    def close(self) -> None:
        """Stop, and let others cull. Idempotent."""
        work, self._work = self._work, None
        if work is not None:
            work.close()  # type: ignore[attr-defined]  # a generator

    def _run(self) -> Iterator[Step]:
        self._held.clear()
        self.freed += self._cache.graveyard.sweep()
        excess = self._excess()
        if not excess and not self._walk_first:
            return
        with self._alone() as volumes_fd:
            if volumes_fd is None:
                yield Step.BUSY
                return
            while excess or self._walk_first:
                if self._walk_first or not self._table or time.monotonic() >= self._table_until:
                    yield from self._scan(volumes_fd)
                    excess = self._excess()
                before = self.freed
                self.freed += self._cache.graveyard.empty(excess.bytes)
                excess = self._excess()
                while self._table and excess:
                    self.freed += self._cull(volumes_fd, heapq.heappop(self._table), excess)
                    yield Step.MORE
                    excess = self._excess()
                if excess and self.freed == before:
                    yield Step.STUCK
                    return

    @property
    def _walk_first(self) -> bool:
        return self._recount or self._cache.space.stale

    @contextmanager
    def _alone(self) -> Iterator[int | None]:
        """The directory of volumes, while this is the cache's only culler."""
        volumes_fd = self._cache.open_volumes()
        lock = -1
        try:
            lock = self._filesystem.open_own("../cull", volumes_fd, create=True)
            yield volumes_fd if self._filesystem.lock(lock) else None
        finally:
            if lock >= 0:
                self._filesystem.close(lock)
            self._filesystem.close(volumes_fd)

    def _scan(self, volumes_fd: int) -> Iterator[Step]:
        charged = self._cache.space.count().charged
        oldest: list[tuple[int, Candidate]] = []  # a heap, the youngest first
        total = 0
        for volume in walk.volumes(volumes_fd):
            try:
                folder = self._filesystem.open_folder(volume, volumes_fd)
            except (FileNotFoundError, NotADirectoryError):
                continue
            try:
                for entry in walk.objects(self._filesystem, folder):
                    total += entry.allocated
                    if not entry.pinned:
                        for candidate in self._candidates(folder, volume, entry):
                            item = (-candidate[0], candidate)
                            if len(oldest) < TABLE:
                                heapq.heappush(oldest, item)
                            elif item > oldest[0]:
                                heapq.heapreplace(oldest, item)
                    yield Step.MORE
            finally:
                self._filesystem.close(folder)
        total += self._cache.graveyard.allocated()  # last: there went what the walk did not meet
        self._cache.space.recounted(total, charged)
        self._recount = False
        self._table = [candidate for _, candidate in oldest]
        heapq.heapify(self._table)
        self._table_until = time.monotonic() + TABLE_LIFE

    def _candidates(self, folder: int, volume: str, entry: walk.Entry) -> Iterator[Candidate]:
        if entry.size is None or entry.allocated <= SEGMENT:
            yield entry.used, volume, entry.path, _WHOLE, entry.size or 0
            return
        try:
            data = self._filesystem.open(entry.path, folder)
        except OSError:
            return
        try:
            extents = self._filesystem.data_extents(data, 0, entry.size)
            last = -1
            for start, end in extents:
                for segment in range(max(start // SEGMENT, last + 1), -(-end // SEGMENT)):
                    last = segment
                    stamp = self._stamp(folder, entry.path, entry.size, segment) or entry.used
                    yield stamp, volume, entry.path, segment, entry.size
        except OSError:
            return
        finally:
            self._filesystem.close(data)

    def _stamp(self, folder: int, path: str, size: int, segment: int) -> int:
        """The last use of a segment; 0 where none is noted, or a time that has not come yet."""
        try:
            side = self._filesystem.open(path + MAP_SUFFIX, folder)
        except OSError:
            return 0
        try:
            raw = bytearray(8)
            self._filesystem.read_some(side, memoryview(raw), stamps_at(size) + segment * 8)
            when: int = struct.unpack("<Q", raw)[0]
            return when if when <= time.time_ns() else 0
        finally:
            self._filesystem.close(side)

    def _cull(self, volumes_fd: int, candidate: Candidate, excess: Excess) -> int:
        """Let one candidate go; the bytes freed. 0 where it may not, or is gone."""
        used, volume, path, segment, size = candidate
        if volume in self._held:
            return 0
        opened: list[int] = []
        doomed = Doomed()
        epoch = self._cache.space.epoch()
        freed = 0
        try:
            opened.append(self._filesystem.open_folder(volume, volumes_fd))
            folder = Folder(self._filesystem, opened[0], self._cache.graveyard)
            if segment != _WHOLE:
                if self._stamp(folder.fd, path, size, segment) <= used:
                    freed = self._punch(folder, path, size, range(segment, segment + 1), opened)
            else:
                freed = self._remove(folder, path, size, used, opened, doomed)
        except FileNotFoundError:
            return 0
        except TimeoutError:  # its directory is held by a process that is stopped
            self._held.add(volume)
        except OSError as error:
            if error.errno not in NO_FILE_OF_OURS:
                raise
        finally:
            for fd in reversed(opened):
                self._filesystem.close(fd)
            self._cache.space.freed(freed, epoch)
            freed += self._cache.graveyard.settle(doomed.graves)
        return freed

    def _remove(
        self,
        folder: Folder,
        path: str,
        size: int,
        used: int,
        opened: list[int],
        doomed: Doomed,
    ) -> int:
        with folder.alone():
            try:
                data = self._filesystem.open(path, folder.fd)
            except FileNotFoundError:
                folder.bury(path, doomed)  # a map that a crash left alone
                return 0
            opened.append(data)
            if folder.is_pinned(data) or self._filesystem.status(data).st_atime_ns > used:
                return 0
            if self._filesystem.lock(data):
                self.gone += 1
                return folder.remove(path)
        return self._punch(folder, path, size, range(-(-size // SEGMENT)), opened)

    def _punch(
        self, folder: Folder, path: str, size: int, segments: range, opened: list[int]
    ) -> int:
        with folder.alone():
            data = self._filesystem.open(path, folder.fd)
            opened.append(data)
            side = self._filesystem.open(path + MAP_SUFFIX, folder.fd)
            opened.append(side)
        if folder.is_pinned(data):
            return 0
        before = self._filesystem.status(data).st_blocks
        for segment in segments:
            first, count = segment_blocks(segment, size)
            self._filesystem.write_all(side, bytes(count * ENTRY), first * ENTRY)
        start = segments.start * SEGMENT
        length = min(len(segments) * SEGMENT, -(-size // BLOCK) * BLOCK - start)
        if not self._filesystem.punch(data, start, length):
            return 0
        return max(0, before - self._filesystem.status(data).st_blocks) * 512
