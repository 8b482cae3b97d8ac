"""One cached file of one generation: a sparse backing file and its content map.

Threads. Any number may call any method at once; a pool does. A lock round the map is held for calls
on the small side file, so that its pages in memory and the side file change together. No lock is
held while data is read or written: that is the long part, different ranges have nothing to do with
each other, and on one range the hash decides. What must not happen is a descriptor closed, and its
number reused, under a thread that is using it: every call counts itself in (``_busy``, under a lock
of its own that is never held across a syscall) and the last one out closes.

Retirement. An object whose generation is over is unlinked and retired: its reads miss, its writes
say False, and a write that is already on its way ends in an inode that has no name.

Files are made at the first write: a file that is opened and never stored costs one failed open.

Syscalls: opening an existing object 3 (open, getxattr, open the map); opening an absent one 1.
Occupancy of 32 MiB: 0-2 map reads (4 KiB each, kept) and 2 lseeks for each run of data, none where
the map is empty. 1 MiB read: 1 preadv (and a map read if the page is not kept). 1 MiB write: 1
pwritev and 1 pwrite of 128 bytes; the first write of an object 3 more (create, setxattr, create).
The first direct transfer opens the data file once more (``datafile.py``).
"""

from __future__ import annotations

import errno
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from threading import Lock

from cachefiles.backing import Filesystem
from cachefiles.coherency import Record
from cachefiles.contentmap import BLOCK, ContentMap, block_hashes
from cachefiles.datafile import DataFile
from cachefiles.errors import CacheError, translated
from cachefiles.extents import Extent, intersect, runs, whole_blocks


@dataclass(frozen=True, slots=True)
class Files:
    """Both open files of an object. ``fresh``: they were just made and are empty."""

    data: DataFile
    map: int
    fresh: bool


class Object:
    """Made by :meth:`cachefiles.volume.Volume.open`; give it back with :meth:`close`.

    Methods raise ``ValueError`` for a range that is not made of whole blocks of the file, and
    ``CacheError`` for what the filesystem below does: ``NoSpace``, ``CacheDead``, or the base
    class when only this call is affected. After an error nothing half-done counts as stored.
    """

    def __init__(
        self,
        filesystem: Filesystem,
        record: Record,
        seed: int,
        files: Files | None,
        *,
        make_files: Callable[[Object], None],
        release: Callable[[Object], None],
        drop: Callable[[Object], None],
    ) -> None:
        self.record = record
        self._filesystem = filesystem
        self._seed = seed
        self._make_files = make_files
        self._release = release
        self._drop = drop
        self._lock = Lock()
        self._map_lock = Lock()
        self._files: Files | None = None
        self._map: ContentMap | None = None
        self._busy = 0
        self._retired = False
        self._shut = False
        if files is not None:
            self.attach(files)

    @property
    def size(self) -> int:
        """Bytes of the file in this generation."""
        return self.record.size

    @property
    def retired(self) -> bool:
        """Whether this generation is over: nothing is stored and nothing found any more."""
        return self._retired

    @property
    def has_files(self) -> bool:
        """Whether anything can be stored: False until the first write of a new object."""
        return self._files is not None

    def occupancy(self, start: int, end: int) -> list[Extent]:
        """Which blocks of ``[start, end)`` are stored: data by SEEK_DATA and an entry in the map.

        Both must agree; :meth:`read` still has the last word. Block-aligned, the last extent ends
        at the file's size at most.
        """
        first, count = self._blocks(start, min(end, self.size) - start)
        with self._using() as files:
            if files is None or not count:
                return []
            with translated("looking for cached data"):
                mapped = runs(first, self._entries(first, count), BLOCK, self.size)
                if not mapped:
                    return []
                data = files.data.extents(mapped[0][0], mapped[-1][1])
            return intersect(mapped, whole_blocks(data, BLOCK, self.size))

    def read(self, start: int, target: memoryview) -> bool:
        """Fill ``target`` (bytes, writable) from ``start`` with blocks that all have proved right.

        False when one is not stored or not right; a wrong one is struck from the map, so that it
        is fetched and stored again. ``target`` is undefined then.
        """
        first, count = self._blocks(start, len(target))
        with self._using() as files:
            if files is None:
                return False
            with translated("reading cached data"):
                expected = self._entries(first, count)
                if 0 in expected:
                    return False
                got = self._read_data(files, start, target, range(first, first + count))
                actual = block_hashes(self._seed, first, target[:got])
                if actual == expected:
                    return not self._retired
                actual += [0] * (count - len(actual))
                wrong = [
                    number
                    for number, (want, have) in enumerate(
                        zip(expected, actual, strict=True), start=first
                    )
                    if want != have
                ]
                self._strike(wrong)
            return False

    def read_now(self, start: int, target: memoryview) -> bool:
        """As :meth:`read`, for a caller that must not wait: for no disk and no other thread.

        False as well where that cannot be: then :meth:`read` knows. Nothing is struck.
        """
        first, count = self._blocks(start, len(target))
        with self._using() as files:
            if files is None or not self._map_lock.acquire(blocking=False):
                return False
            try:
                expected = None if self._map is None else self._map.kept(first, count)
            finally:
                self._map_lock.release()
            if expected is None or 0 in expected or not files.data.read_now(target, start):
                return False
            return block_hashes(self._seed, first, target) == expected and not self._retired

    def write(self, start: int, data: memoryview) -> bool:
        """Store whole blocks; the entries follow only after all of the data is written.

        False when the object was retired or closed meanwhile.
        """
        first, count = self._blocks(start, len(data))
        if not count:
            return True
        with self._using(making=True) as files:
            if files is None:
                return False
            hashes = block_hashes(self._seed, first, data)
            with translated("storing data in the cache"):
                files.data.write_all(data, start)
                with self._map_lock:
                    if self._retired or self._map is None:
                        return False
                    self._map.put(first, hashes)
            return True

    def invalidate(self) -> None:
        """End this generation: unlink its files and retire the object."""
        self._drop(self)

    def close(self) -> None:
        """Give the object back; once for every ``Volume.open`` that returned it. Never raises."""
        self._release(self)

    def attach(self, files: Files) -> None:
        """For the volume: use ``files`` from now on."""

        def load(offset: int, page: memoryview) -> int:
            # One call: what it leaves out reads as zero, and zero is "not stored".
            return self._filesystem.read_some(files.map, page, offset)

        def store(offset: int, entries: bytes) -> None:
            self._filesystem.write_all(files.map, entries, offset)

        with self._lock:
            self._map = ContentMap(self.size, load, store, fresh=files.fresh)
            self._files = files

    def retire(self) -> None:
        """For the volume: this generation is over. Descriptors go when the last call is out."""
        self._retired = True
        self.shut()

    def shut(self) -> None:
        """For the volume: no new call gets in; the last one out closes the descriptors."""
        with self._lock:
            self._shut = True
            files = self._take_idle_files()
        self._close(files)

    def _blocks(self, start: int, length: int) -> tuple[int, int]:
        """First block and number of blocks. ``ValueError`` unless they are whole and the file's."""
        if length <= 0:
            return 0, 0
        end = start + length
        if start < 0 or start % BLOCK or end > self.size or (end % BLOCK and end != self.size):
            raise ValueError(f"[{start}, {end}) is not made of blocks of {self.size} bytes")
        return start // BLOCK, -(-length // BLOCK)

    def _entries(self, first: int, count: int) -> list[int]:
        try:
            with self._map_lock:
                return [0] * count if self._map is None else self._map.entries(first, count)
        except OSError as error:
            # As for data that cannot be read: let the next mount start this file anew.
            if error.errno == errno.EIO:
                with suppress(CacheError):
                    self._drop(self)
            raise

    def _strike(self, blocks: list[int]) -> None:
        with self._map_lock:
            if self._map is not None:
                self._map.clear(blocks)

    def _read_data(self, files: Files, start: int, target: memoryview, blocks: range) -> int:
        try:
            return files.data.read_into(target, start)
        except OSError as error:
            # A sector that cannot be read would end every later use of this cache in the same
            # place: strike the range now, so that the next mount fetches it again.
            if error.errno == errno.EIO:
                with suppress(OSError):
                    self._strike(list(blocks))
            raise

    @contextmanager
    def _using(self, *, making: bool = False) -> Iterator[Files | None]:
        """The descriptors, kept open for the body; None when there are none to be had."""
        with self._lock:
            usable = not self._shut
            self._busy += usable
        if not usable:
            yield None
            return
        try:
            if making and self._files is None:
                self._make_files(self)
            yield self._files
        finally:
            with self._lock:
                self._busy -= 1
                idle = self._take_idle_files()
            self._close(idle)

    def _take_idle_files(self) -> Files | None:
        if not self._shut or self._busy:
            return None
        files, self._files, self._map = self._files, None, None
        return files

    def _close(self, files: Files | None) -> None:
        if files is not None:
            files.data.close()
            self._filesystem.close(files.map)
