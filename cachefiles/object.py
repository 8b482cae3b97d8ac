"""One cached file of one generation: a sparse backing file and its content map.

Threads and processes. Any number may call any method at once, and other processes have the same
files open. No lock is held while anything is read or written: different ranges have nothing to do
with each other, and on one range the hash decides. What must not happen is a descriptor closed, and
its number reused, under a thread that is using it: every call counts itself in (``_busy``, under a
lock of its own that is never held across a syscall) and the last one out closes.

In use. The descriptor of the backing file holds a shared flock; a process that would bury the
object takes it alone, and so finds out. A culler may punch what is in use all the same: entries
first, then data, so that what a reader finds in between is refused by the hash.

Retirement. An object whose generation is over is buried and retired: its reads miss, its writes say
False, and a write that is already on its way ends in a grave (``graveyard.py``). Where another
process ended the generation, a write finds that the files are buried.

Files are made at the first write, or by an open that says it is about to write: any other file
that is opened and never stored costs one failed open.
Files that another process made meanwhile are taken then, if they are of this generation.

Syscalls, small ones in the page cache: opening an existing object 8 (flock twice round open,
getxattr twice, flock, fstat, open the map, utimensat); opening an absent one 3. What reading and
writing take says ``blocks.py``; a write has now and then an fstat, and 5 calls to charge the next
batch; the first write of an object 9 more, 7 where it was opened to be stored. (Each call gives the
interpreter's lock away, and getting it back from a busy loop takes longer than the call: four more
in a write cost a tenth of the rate of a cold read.) The first direct transfer opens the data file
once more (``datafile.py``).
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from threading import Event, Lock
from typing import Protocol

from cachefiles.blocks import Blocks, MapUnreadable, block_range
from cachefiles.coherency import Record
from cachefiles.errors import CacheError, translated
from cachefiles.extents import Extent
from cachefiles.generation import Generation
from cachefiles.space import Space, charge_of

NAME_CHECK = 0.1
"""Seconds."""


class ObjectOwner(Protocol):
    """What an object asks of its volume, as its own methods say."""

    def make_files(self, user: Object) -> None:
        """Attach files to an object that has none; it has none afterwards where its generation is
        over. Raises ``CacheError``."""
        ...

    def release(self, user: Object) -> None:
        """It is closed."""
        ...

    def drop(self, user: Object) -> None:
        """End its generation. Raises ``CacheError``."""
        ...

    def restamp(
        self, user: Object, size: int, coherency: bytes, changed: Sequence[Extent], /
    ) -> Object | None:
        """As :meth:`Object.restamp`."""
        ...

    def finish(self, user: Object, key: bytes, coherency: bytes, /) -> bool:
        """As :meth:`~cachefiles.changing.ChangingObject.finish`."""
        ...


class Object:
    """Made by :meth:`cachefiles.volume.Volume.open`; give it back with :meth:`close`.

    Methods raise ``ValueError`` for a range that is not made of whole blocks of the file, and
    ``CacheError`` for what the filesystem below does: ``NoSpace``, ``CacheDead``, or the base
    class when only this call is affected. After an error nothing half-done counts as stored.

    ``path``: where it is below its volume's directory.
    """

    changing = False
    """Whether it is valid for the process that changes it alone (``changing.py``)."""

    def __init__(
        self,
        path: str,
        generation: Generation,
        blocks: Blocks | None,
        *,
        space: Space,
        owner: ObjectOwner,
    ) -> None:
        self.path = path
        self.generation = generation
        self._blocks = blocks
        self._space = space
        self._owner = owner
        self._lock = Lock()
        self._name_checked = 0.0 if blocks is None else time.monotonic()
        self._changed = False
        self._busy = 0
        self._out: Event | None = None
        self._retired = False
        self._shut = False

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
        """Whether another process, or this one, buried its files. Raises ``CacheError``."""
        with self._using() as blocks, translated("looking at a cached file"):
            return blocks is not None and blocks.data.is_buried()

    @property
    def has_files(self) -> bool:
        """Whether anything can be stored: False until the first write of a new object."""
        return self._blocks is not None

    def occupancy(self, start: int, end: int) -> list[Extent]:
        """Which blocks of ``[start, end)`` are stored: data by SEEK_DATA and an entry in the map.

        Both must agree; :meth:`read` still has the last word. Block-aligned, the last extent ends
        at the file's size at most.
        """
        first, count = block_range(start, min(end, self.size) - start, self.size)
        with self._using() as blocks:
            if blocks is None or not count:
                return []
            with translated("looking for cached data"), self._map_readable():
                return blocks.occupancy(first, count)

    def read(self, start: int, target: memoryview) -> bool:
        """Fill ``target`` (bytes, writable) from ``start`` with blocks that all have proved right.

        False when one is not stored or not right; a wrong one is struck from the map, so that it
        is fetched and stored again. ``target`` is undefined then.
        """
        first, count = block_range(start, len(target), self.size)
        with self._using() as blocks:
            if blocks is None:
                return False
            with translated("reading cached data"), self._map_readable():
                return blocks.read(first, count, target) and not self._retired

    def read_now(self, start: int, target: memoryview) -> bool:
        """As :meth:`read`, for a caller that must not wait: for no disk and no other thread.

        False as well where that cannot be: then :meth:`read` knows. Nothing is struck.
        """
        first, count = block_range(start, len(target), self.size)
        with self._using() as blocks:
            if blocks is None:
                return False
            return blocks.read_now(first, count, target) and not self._retired

    def write(self, start: int, data: memoryview) -> bool:
        """Store whole blocks; the entries follow only after all of the data is written.

        False when the object was retired, buried or closed meanwhile, or the cache is full.
        """
        first, count = block_range(start, len(data), self.size)
        if not count:
            return True
        with self._using(making=True) as blocks:
            if blocks is None:
                return False
            hashes = blocks.hashes(first, data)
            with translated("storing data in the cache"):
                if self._is_buried(blocks):
                    self.retire()
                    return False
                charge = self._charge(blocks, first, data)
                if not self._space.take(charge):
                    return False
                self._changed = True
                try:
                    blocks.data.write_all(data, start)
                finally:
                    self._space.settle(charge)
                if self._retired:
                    return False
                blocks.enter(first, hashes, data)
            return True

    def _charge(self, _blocks: Blocks, _first: int, data: memoryview) -> int:
        """Bytes to be charged for storing ``data`` from block ``first`` on."""
        return charge_of(len(data))

    def sync(self) -> None:
        """Have what was stored up to here outlive a power loss. Twice nothing costs nothing."""
        with self._using() as blocks:
            if blocks is None:
                return
            with translated("syncing the cache"):
                blocks.flush()
                if not self._changed:
                    return
                self._changed = False
                blocks.sync()

    def forget_changes(self) -> None:
        """For the volume: all is being synced at once. Raises ``CacheError``."""
        self._changed = False
        with self._using() as blocks, translated("syncing the cache"):
            if blocks is not None:
                blocks.flush()

    @property
    def changed(self) -> bool:
        """Whether something was stored since the last :meth:`sync`."""
        return self._changed

    def invalidate(self) -> None:
        """End this generation: unlink its files and retire the object."""
        self._owner.drop(self)

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
        return self._owner.restamp(self, size, coherency, changed)

    def close(self) -> None:
        """Give the object back; once for every ``Volume.open`` that returned it. Never raises."""
        self._owner.release(self)

    def attach(self, blocks: Blocks, generation: Generation) -> None:
        """For the volume, under the directory's lock, so that they are not buried: use ``blocks``,
        those of ``generation``, from now on."""
        with self._lock:
            self.generation = generation
            self._blocks = blocks
            self._name_checked = time.monotonic()

    def retire(self) -> None:
        """For the volume: this generation is over. Descriptors go when the last call is out."""
        self._retired = True
        self.shut()

    def wait_out(self, seconds: float) -> bool:
        """For the volume, of a retired one, holding no lock: whether no call is in any more, and
        its descriptors are closed."""
        with self._lock:
            if not self._busy:
                return True
            self._out = self._out or Event()
        return self._out.wait(seconds)

    def hand_over(self, alone: Callable[[int], bool]) -> Blocks | None:
        """For the volume: retire, and give the files away instead of closing them. None, and
        nothing changed, while a call is in, without files, or where ``alone(fd)`` says False."""
        with self._lock:
            blocks = self._blocks
            if blocks is None or self._busy or self._shut or not alone(blocks.data.fd):
                return None
            self._retired = self._shut = True
            self._blocks = None
        return blocks

    def shut(self) -> None:
        """For the volume: no new call gets in; the last one out closes the descriptors."""
        blocks = self._blocks
        with suppress(OSError):
            if blocks is not None and not self._shut and not self._retired:
                blocks.flush()
        with self._lock:
            self._shut = True
            idle = self._take_idle()
        if idle is not None:
            idle.close()

    def _is_buried(self, blocks: Blocks) -> bool:
        """Whether the files are buried; asked at most every ``NAME_CHECK`` seconds, since what is
        stored in them meanwhile is lost and does no harm."""
        now = time.monotonic()
        if now - self._name_checked < NAME_CHECK:
            return False
        self._name_checked = now
        return blocks.data.is_buried()

    @contextmanager
    def _map_readable(self) -> Iterator[None]:
        """Where the map is not, let the next mount start this file anew."""
        try:
            yield
        except MapUnreadable:
            with suppress(CacheError):
                self._owner.drop(self)
            raise

    @contextmanager
    def _using(self, *, making: bool = False) -> Iterator[Blocks | None]:
        """The files, kept open for the body; None when there are none to be had."""
        with self._lock:
            usable = not self._shut
            self._busy += usable
        if not usable:
            yield None
            return
        try:
            if making and self._blocks is None:
                self._owner.make_files(self)
            yield self._blocks
        finally:
            with self._lock:
                self._busy -= 1
                idle = self._take_idle()
            if idle is not None:
                idle.close()
            if self._out is not None and not self._busy:
                self._out.set()

    def _take_idle(self) -> Blocks | None:
        if not self._shut or self._busy:
            return None
        blocks, self._blocks = self._blocks, None
        return blocks
