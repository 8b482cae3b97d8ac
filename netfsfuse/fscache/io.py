"""CacheOps over ``cachefiles``.

A hop to a thread and back costs more than the transfer of 1 MiB (``batch.py``). So everything is
done in one hop a call, calls that queue up share one, and what needs none makes none:

- :meth:`FsCache.acquire` makes no hop. The backing file is opened in the hop of the first call that
  needs it: a file that is opened and not read costs nothing.
- An object known to have stored nothing answers occupancy and reads at once.
- A read of at most ``INLINE_MAX`` whose bytes are in the page cache, and their hashes in memory, is
  answered on the loop; a read that would wait for a disk is refused by the kernel and hops.
  Occupancy is not asked on the loop: ext4's SEEK_DATA waits for a store that extends the file.
- Small files are stored and found whole, many in a hop (``whole.py``).
- :meth:`CachedFile.aclose` makes no hop either: the next one on its way closes what was let go,
  unless ``DROPPED_MAX`` wait already.

Threads touch the objects of ``cachefiles``, which are made for it, and the queue of dropped ones;
counters and all else here belong to the loop.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence

import trio

import cachefiles
from netfsfuse.descriptors import spare
from netfsfuse.fscache import cookie
from netfsfuse.fscache.changes import ChangeableFile
from netfsfuse.fscache.file import CachedFile
from netfsfuse.fscache.health import Health
from netfsfuse.fscache.maintenance import Maintenance
from netfsfuse.fscache.threads import Threads
from netfsfuse.fscache.whole import Renamed, WholeFile, WholeFiles
from netfsfuse.netfs.io.slow_cache import CACHE_TIMEOUT
from netfsfuse.netfs.ops import CacheObject
from netfsfuse.stats import CacheStats
from netfsfuse.types import FileAttr, coherency_of, same_content

log = logging.getLogger(__name__)

OBJECT_DESCRIPTORS = 3
"""What an open object takes at most: its data twice, for direct I/O too, and its map."""


class FsCache:
    """The cache of one mounted share, or none at all (``volume=None``).

    Owns ``cache`` and closes it. Lives on one trio loop. ``subdir``: the folder of the share that
    is mounted, since two mounts of one share may share a cache.
    """

    def __init__(
        self,
        cache: cachefiles.Cache | None,
        volume: cachefiles.Volume | None,
        stats: CacheStats,
        *,
        subdir: str = "",
        clock: Callable[[], float] = trio.current_time,
    ) -> None:
        self.stats = stats
        self._subdir = subdir
        self.health = Health(clock)
        self.volume = volume
        self._cache = cache
        self._space = None if cache is None else cache.space
        self.threads = Threads(self.health)
        self.maintenance = None
        if cache is not None and volume is not None:
            self.maintenance = Maintenance(cache, volume, stats, self.health, self.failed)
        self._open: dict[bytes, set[CachedFile]] = {}
        self._held, self._held_most = 0, spare() // OBJECT_DESCRIPTORS
        self._told = False  # that there are too many
        self._whole = WholeFiles(self, self._count)
        stats.enabled = volume is not None

    async def acquire(self, attr: FileAttr, path: str) -> CacheObject | None:
        """The cached file for what the server says now is ``attr`` at ``path``; None where there is
        no cache for it. Never raises.

        Objects of the same file that were acquired under other content find nothing and store
        nothing from here on. What is on disk of other content is dropped before it is looked at.
        While one of them is being changed (``CacheObject.begin_changes``) there is none for others.
        """
        if self.volume is None or self.health.dead or not 0 <= attr.size < 2**63:
            return None
        acquired = ChangeableFile(self, attr, f"{self._subdir}/{path}")
        self.restamped(acquired.key, acquired)
        if self._is_changing(acquired.key, acquired):
            self.forget(acquired.key, acquired)
            return None
        return acquired

    def _file(self, attr: FileAttr, path: str) -> WholeFile:
        return WholeFile.at(attr, f"{self._subdir}/{path}")

    async def store_whole(self, attr: FileAttr, path: str, data: memoryview) -> None:
        """Store all of a small file, soon. May wait a moment for room. Never raises."""
        if self.volume is None or self.health.dead or not data:
            return
        await self.store_later(self._file(attr, path), data)

    async def load_whole(self, files: Sequence[tuple[FileAttr, str]]) -> list[memoryview | None]:
        """What is stored of each small file, given as ``(attr, path)``: all of it and verified, or
        None, also where it is being changed. Never raises, and returns after ``CACHE_TIMEOUT``."""
        if self.volume is not None and not self.health.dead and not self.health.hangs:
            with trio.move_on_after(CACHE_TIMEOUT):
                asked = [self._file(*each) for each in files]
                return await self._whole.load(
                    [None if self._is_changing(each.key) else each for each in asked]
                )
        return [None] * len(files)

    def mark_used(self, attr: FileAttr, path: str) -> None:
        """The file was used without its object being asked for."""
        if self.volume is not None:
            self.used(cookie.object_key(attr, f"{self._subdir}/{path}"))

    def renamed(self, before: FileAttr, path: str, attr: FileAttr, to: str) -> None:
        """A file that was ``before`` at ``path`` is ``attr`` at ``to``, by our own rename: what is
        kept of it is found there, soon. Not where it is open for reading, or where the server
        says of its content anything else than before. Never waits, never raises."""
        if self.volume is None or self.health.dead or not same_content(coherency_of(before), attr):
            return
        old, new = self._file(before, path), self._file(attr, to)
        if old.key == new.key:
            return
        opened = self._open.get(old.key, ())
        for file in opened:
            if file.changing:
                file.renamed(f"{self._subdir}/{to}")
        if not opened:
            self._whole.renamed(Renamed(old, new))

    def restamped(self, key: bytes, file: CachedFile) -> None:
        """``file`` has this key and another record now: what has the key and another is over."""
        others = self._open.setdefault(key, set())
        for other in others:
            if not same_content(other.coherency, file.attr):
                other.superseded = True
        others.add(file)

    def begin_changes(self, key: bytes, file: CachedFile) -> None:
        """``file`` is about to be changed: all others of its key are over."""
        for other in self._open.get(key, ()):
            if other is not file:
                other.superseded = True

    def _is_changing(self, key: bytes, but: CachedFile | None = None) -> bool:
        others = self._open.get(key, ())
        return any(other.changing for other in others if other is not but)

    def is_superseded(self, file: WholeFile) -> bool:
        """Whether the file is open with other content, or is being changed."""
        others = self._open.get(file.key, ())
        return any(
            other.changing or not same_content(other.coherency, file.attr) for other in others
        )

    async def store_later(self, file: WholeFile, data: memoryview) -> bool:
        """Store ``data``, all of ``file``, some time soon; False when there is no room for it."""
        stored = await self._whole.store(file, data)
        self.stats.refused += not stored
        return stored

    def _count(self, stored: int, found: int) -> None:
        self.stats.bytes_stored += stored
        self.stats.bytes_read += found

    def locate(self, attr: FileAttr, path: str) -> dict[str, str] | None:
        """Where the file is cached, or will be: ``cachedir``, ``volume`` and ``object``, the names
        of its directory and backing file. None without a cache. No I/O."""
        if self._cache is None or self.volume is None or attr.is_directory:
            return None
        key = cookie.object_key(attr, f"{self._subdir}/{path}")
        return {
            "cachedir": str(self._cache.directory),
            "volume": cachefiles.file_name(self.volume.key),
            "object": cachefiles.file_name(key),
        }

    async def maintain(self) -> None:
        """Keep the cache synced and within its limits, until it is closed. A task of the owner of
        the cache; without it nothing is culled.
        """
        if self.maintenance is not None:
            async with trio.open_nursery() as nursery:
                nursery.start_soon(self._whole.run)
                nursery.start_soon(self.maintenance.run)

    async def aclose(self) -> None:
        """Wait for calls under way, close everything and free the directory. Idempotent.

        Shielded from cancellation. Objects still held find and store nothing from here on.
        """
        if self._cache is None:
            return
        with trio.CancelScope(shield=True):
            await self._whole.stop()
            if self._cache is None:
                return
        cache, self._cache, self.volume = self._cache, None, None
        with trio.CancelScope(shield=True):
            if self.maintenance is not None:
                await self.maintenance.stop()
            await self.threads.drain()
            for held in [held for files in self._open.values() for held in files]:
                await held.aclose()
            try:
                await self.threads.run(cache.close)
            except cachefiles.CacheError as error:  # no thread: then here
                self.failed(error)
                cache.close()

    async def drop(self, dropped: cachefiles.Object) -> None:
        """Close ``dropped`` some time soon; at once if nothing comes after."""
        await self.threads.drop(dropped, now=self._cache is None)

    def stored(self, *, done: bool) -> None:
        """A store came back; not ``done``: there was no room, or its object was over."""
        if done:
            self.health.stored()
            self.stats.enabled = not self.health.dead
        if self.maintenance is not None:
            self.maintenance.stored()

    def may_open(self) -> bool:
        """Whether one more object may be held open; the first refusal is logged."""
        if self._held < self._held_most:
            return True
        if not self._told:
            self._told = True
            log.warning(
                "%d files are open in the cache, and no more may be: others are read without it "
                "(RLIMIT_NOFILE)",
                self._held,
            )
        return False

    def holds(self, count: int) -> None:
        """So many more objects are held open, or fewer."""
        self._held += count

    @property
    def room(self) -> bool:
        """Whether a store is worth its hop."""
        return self.health.storing and not (self._space is not None and self._space.full)

    def used(self, key: bytes) -> None:
        """The object ``key`` was used without being opened."""
        if self.maintenance is not None:
            self.maintenance.used(key)

    def forget(self, key: bytes, file: CachedFile) -> None:
        """``file`` is closed, or its key is another now."""
        files = self._open.get(key, set())
        files.discard(file)
        if not files:
            self._open.pop(key, None)

    def failed(self, error: Exception) -> None:
        """Count and judge what a hop brought back."""
        self.stats.errors += 1
        if isinstance(error, cachefiles.CacheError):
            self.health.failed(error)
        else:
            self.health.broken(error)
        if self.health.dead:
            self.stats.enabled = False
