"""One cached file of one generation: a sparse backing file and its content map.

Threads and processes. Any number may call any method at once, and other processes have the same
files open. No lock is held while anything is read or written: different ranges have nothing to do
with each other, and on one range the hash decides. What must not happen is a descriptor closed, and
its number reused, under a thread that is using it: every call counts itself in (``_busy``, under a
lock of its own that is never held across a syscall) and the last one out closes.

In use. The descriptor of the backing file holds a shared flock; who would bury the object takes it
alone, and so finds out. A culler may punch what is in use all the same: entries first, then data,
so that what a reader finds in between is refused by the hash.

Retirement. An object whose generation is over is buried and retired: its reads miss, its writes say
False, and a write that is already on its way ends in a grave (``graveyard.py``). Where another
process ended the generation, a write finds that the files are buried.

Files are made at the first write: a file that is opened and never stored costs one failed open.
Files that another process made meanwhile are taken then, if they are of this generation.

Syscalls, small ones in the page cache: opening an existing object 8 (flock twice round open,
getxattr twice, flock, fstat, open the map, utimensat); opening an absent one 3. Occupancy of 32
MiB: a read of 4 KiB and 2 lseeks for each run of data, none where the map is empty. 1 MiB read: a
read of 128 bytes, 1 preadv and 2 fstats. 1 MiB write: 1 pwritev and 1 pwrite of 128 bytes; now and
then an fstat, and 5 calls to charge the next batch; the first write of an object 9 more, 7 where
it was opened to be stored. (Each call
gives the interpreter's lock away, and getting it back from a busy loop takes longer than the call:
four more in a write cost a tenth of the rate of a cold read.) The first direct transfer opens the
data file once more (``datafile.py``).
"""

from __future__ import annotations

import enum
import errno
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from threading import Lock

from cachefiles.backing import Filesystem
from cachefiles.coherency import Record
from cachefiles.contentmap import BLOCK, ENTRY, ContentMap, block_count, block_hashes
from cachefiles.datafile import DataFile
from cachefiles.errors import CacheError, translated
from cachefiles.extents import Extent, intersect, runs, whole_blocks
from cachefiles.generation import Generation, kept_blocks, touched_blocks
from cachefiles.recency import Recency
from cachefiles.space import Space, charge_of
from cachefiles.verified import Verified

NAME_CHECK = 0.1
"""Seconds."""


class Verify(enum.Enum):
    """When the bytes of a stored block are hashed."""

    OPEN = "open"  # at the first read after the object was opened or its files changed
    ALWAYS = "always"
    NEVER = "never"  # the filesystem is trusted with it: map and extents alone decide


@dataclass(frozen=True, slots=True)
class Files:
    """Both open files of an object, and the seed that their generation gives."""

    data: DataFile
    map: int
    seed: int


class Object:
    """Made by :meth:`cachefiles.volume.Volume.open`; give it back with :meth:`close`.

    Methods raise ``ValueError`` for a range that is not made of whole blocks of the file, and
    ``CacheError`` for what the filesystem below does: ``NoSpace``, ``CacheDead``, or the base
    class when only this call is affected. After an error nothing half-done counts as stored.
    """

    def __init__(
        self,
        filesystem: Filesystem,
        generation: Generation,
        files: Files | None,
        *,
        space: Space,
        verify: Verify,
        make_files: Callable[[Object], None],
        release: Callable[[Object], None],
        drop: Callable[[Object], None],
        restamp: Callable[[Object, int, bytes, Sequence[Extent]], Object | None],
    ) -> None:
        self.generation = generation
        self._filesystem = filesystem
        self._space = space
        self._verify = verify
        self._make_files = make_files
        self._release = release
        self._drop = drop
        self._restamp = restamp
        self._lock = Lock()
        self._files: Files | None = None
        self._map = ContentMap(self._load, self._store)
        self._verified = Verified()
        self._recency = Recency(generation.record.size, self._store)
        self._name_checked = 0.0
        self._changed = False
        self._busy = 0
        self._retired = False
        self._shut = False
        if files is not None:
            self.attach(files, generation)

    @property
    def record(self) -> Record:
        """For which version of the remote file its blocks stand."""
        return self.generation.record

    @property
    def size(self) -> int:
        """Bytes of the file in this generation."""
        return self.record.size

    @property
    def retired(self) -> bool:
        """Whether this generation is over: nothing is stored and nothing found any more."""
        return self._retired

    @property
    def buried(self) -> bool:
        """Whether somebody buried its files. Raises ``CacheError``."""
        with self._using() as files, translated("looking at a cached file"):
            return files is not None and files.data.is_buried()

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
                before = None
                if self._verify is not Verify.ALWAYS:
                    before = files.data.changed(), time.time_ns()
                got = self._read_data(files, start, target, range(first, first + count))
                if got < len(target):
                    self._map.clear_if(
                        list(enumerate(expected, start=first))[max(got, 0) // BLOCK :]
                    )
                    return False
                if not self._proved(files, first, target, expected, before):
                    return False
                self._recency.note(start, start + len(target), time.time_ns())
            return not self._retired

    def read_now(self, start: int, target: memoryview) -> bool:
        """As :meth:`read`, for a caller that must not wait: for no disk and no other thread.

        False as well where that cannot be: then :meth:`read` knows. Nothing is struck.
        """
        first, count = self._blocks(start, len(target))
        with self._using() as files:
            if files is None:
                return False
            expected = self._entries_now(files, first, count)
            if 0 in expected or not files.data.read_now(target, start):
                return False
            if block_hashes(files.seed, first, target) != expected:
                return False
            self._recency.note(start, start + len(target), time.time_ns())
            return not self._retired

    def write(self, start: int, data: memoryview) -> bool:
        """Store whole blocks; the entries follow only after all of the data is written.

        False when the object was retired, buried or closed meanwhile, or the cache is full.
        """
        first, count = self._blocks(start, len(data))
        if not count:
            return True
        with self._using(making=True) as files:
            if files is None:
                return False
            hashes = block_hashes(files.seed, first, data)
            with translated("storing data in the cache"):
                if self._is_buried(files):
                    self.retire()
                    return False
                if not self._space.take(charge_of(len(data))):
                    return False
                self._changed = True
                files.data.write_all(data, start)
                if self._retired:
                    return False
                self._map.put(first, hashes)
                self._recency.note(start, start + len(data), time.time_ns())
            return True

    def sync(self) -> None:
        """Have what was stored up to here outlive a power loss. Twice nothing costs nothing."""
        with self._using() as files:
            if files is None:
                return
            with translated("syncing the cache"):
                self._recency.flush()
                if not self._changed:
                    return
                self._changed = False
                files.data.sync()
                self._filesystem.sync_data(files.map)

    def forget_changes(self) -> None:
        """For the volume: all is being synced at once. Raises ``CacheError``."""
        self._changed = False
        with self._using() as files, translated("syncing the cache"):
            if files is not None:
                self._recency.flush()

    @property
    def changed(self) -> bool:
        """Whether something was stored since the last :meth:`sync`."""
        return self._changed

    def invalidate(self) -> None:
        """End this generation: unlink its files and retire the object."""
        self._drop(self)

    def restamp(self, size: int, coherency: bytes, changed: Sequence[Extent]) -> Object | None:
        """The object that stands for another version of the file and keeps what it has in common.

        To be called once the server has taken a change of our own: ``size`` in bytes and
        ``coherency`` are the file's now, ``changed`` every (start, end) whose bytes may be others
        than before. These blocks, and from the shorter file's last partial block on where the size
        is another, are struck and the strike synced; then the record is exchanged in one step. A
        crash before that leaves fewer blocks under the old record, all of them right.

        The object returned is to be closed, and takes what is stored from now on; this one is
        retired, so that a fetch of old bytes that is still on its way finds no place. None, and
        nothing changed, where that cannot be had: another process or another call uses the files,
        or there are none; then the generation must be ended. ``ValueError``: the record would not
        fit. Raises ``CacheError``; then the generation is over.
        """
        return self._restamp(self, size, coherency, changed)

    def close(self) -> None:
        """Give the object back; once for every ``Volume.open`` that returned it. Never raises."""
        self._release(self)

    def attach(self, files: Files, generation: Generation) -> None:
        """For the volume, under the directory's lock, so that they are not buried: use ``files``,
        which hold ``generation``, from now on."""
        with self._lock:
            self.generation = generation
            self._files = files
            self._name_checked = time.monotonic()

    def retire(self) -> None:
        """For the volume: this generation is over. Descriptors go when the last call is out."""
        self._retired = True
        self.shut()

    def hand_over(self, alone: Callable[[int], bool]) -> Files | None:
        """For the volume: retire, and give the files away instead of closing them. None, and
        nothing changed, while a call is in, without files, or where ``alone(fd)`` says False."""
        with self._lock:
            files = self._files
            if files is None or self._busy or self._shut or not alone(files.data.fd):
                return None
            self._retired = self._shut = True
            self._files = None
        return files

    def strike_for(self, files: Files, size: int, changed: Sequence[Extent]) -> None:
        """For the volume, after :meth:`hand_over`: no entry is left, also after a power loss, of
        a block that is another in a file of ``size`` bytes. Raises ``OSError``."""
        content = ContentMap(
            lambda at, target: self._filesystem.read_some(files.map, target, at),
            lambda at, entries: self._filesystem.write_all(files.map, entries, at),
        )
        keep = kept_blocks(self.size, size)
        for extent in changed:
            blocks = touched_blocks(extent)
            end = min(blocks.stop, block_count(self.size) if keep is None else keep)
            if blocks.start < end:
                content.clear(blocks.start, end - blocks.start)
        if keep is not None:  # the stamps go with them, since they lie elsewhere now
            self._filesystem.truncate(files.map, keep * ENTRY)
        if changed or keep is not None:
            self._filesystem.sync_data(files.map)

    def shut(self) -> None:
        """For the volume: no new call gets in; the last one out closes the descriptors."""
        with suppress(OSError):
            if not self._shut and not self._retired:
                self._recency.flush()
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

    def _is_buried(self, files: Files) -> bool:
        """Whether somebody buried the files; asked at most every ``NAME_CHECK`` seconds, since
        what is stored in them meanwhile is lost and does no harm."""
        now = time.monotonic()
        if now - self._name_checked < NAME_CHECK:
            return False
        self._name_checked = now
        return files.data.is_buried()

    def _load(self, offset: int, target: memoryview) -> int:
        # One call: what it leaves out reads as zero, and zero is "not stored".
        files = self._files
        return 0 if files is None else self._filesystem.read_some(files.map, target, offset)

    def _store(self, offset: int, entries: bytes) -> None:
        files = self._files
        if files is not None:
            self._filesystem.write_all(files.map, entries, offset)

    def _entries(self, first: int, count: int) -> list[int]:
        try:
            return self._map.entries(first, count)
        except OSError as error:
            # As for data that cannot be read: let the next mount start this file anew.
            # So for a map that is a pipe.
            if error.errno in (errno.EIO, errno.ESPIPE):
                with suppress(CacheError):
                    self._drop(self)
            raise

    def _entries_now(self, files: Files, first: int, count: int) -> list[int]:
        """As :meth:`_entries`, what is in the page cache alone; never raises."""
        filesystem, side = self._filesystem, files.map
        now = ContentMap(lambda offset, raw: filesystem.read_now(side, raw, offset), self._store)
        return now.entries(first, count)

    def _proved(
        self,
        files: Files,
        first: int,
        got: memoryview,
        expected: list[int],
        before: tuple[int, int] | None,
    ) -> bool:
        """Whether the bytes read are right; wrong ones are struck. ``before``: the change time
        when their reading began, and when that was, where these are of use."""
        count = len(expected)
        if before is not None and files.data.changed() == before[0]:
            if self._verify is Verify.NEVER:
                return self._extends_over(files, first, len(got))
            if self._verified.covers(first, count, before[0]):
                return True
        else:
            before = None
        actual = block_hashes(files.seed, first, got)
        if actual == expected:
            if before is not None:
                self._verified.add(first, count, *before)
            return True
        self._map.clear_if(
            (number, want)
            for number, (want, have) in enumerate(zip(expected, actual, strict=True), start=first)
            if want != have
        )
        return False

    def _extends_over(self, files: Files, first: int, length: int) -> bool:
        start, end = first * BLOCK, first * BLOCK + length
        return files.data.extents(start, end) == [(start, end)]

    def _read_data(self, files: Files, start: int, target: memoryview, blocks: range) -> int:
        try:
            return files.data.read_into(target, start)
        except OSError as error:
            # A sector that cannot be read would end every later use of this cache in the same
            # place: strike the range now, so that the next mount fetches it again.
            if error.errno == errno.EIO:
                with suppress(OSError):
                    self._map.clear(blocks.start, len(blocks))
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
        files, self._files = self._files, None
        return files

    def _close(self, files: Files | None) -> None:
        if files is not None:
            self._filesystem.close(files.map)
            files.data.close()  # last, with the lock that says that the files are in use
