"""The blocks of one pair of open files: found, proved, stored and struck.

A block is stored when SEEK_DATA says that there is data and the content map has an entry, and it is
right when the hash of its bytes is that entry. Nothing here knows how long the files are to be
used: that is the :class:`~cachefiles.object.Object`'s, which has one :class:`Blocks` at a time.

Syscalls, small ones in the page cache. Occupancy of 32 MiB: a read of 4 KiB and 2 lseeks for each
run of data, none where the map is empty. 1 MiB read: a read of 128 bytes, 1 preadv and 2 fstats. 1
MiB write: 1 pwritev and 1 pwrite of 128 bytes.
"""

from __future__ import annotations

import enum
import errno
import time
from collections.abc import Sequence
from contextlib import suppress

from cachefiles.backing import Filesystem
from cachefiles.contentmap import BLOCK, ENTRY, ContentMap, block_count, block_hashes
from cachefiles.datafile import DataFile
from cachefiles.extents import Extent, intersect, runs, whole_blocks
from cachefiles.generation import kept_blocks, touched_blocks
from cachefiles.recency import Recency
from cachefiles.verified import Verified


class Verify(enum.Enum):
    """When the bytes of a stored block are hashed."""

    OPEN = "open"  # at the first read after the object was opened or its files changed
    ALWAYS = "always"
    NEVER = "never"  # the filesystem is trusted with it: map and extents alone decide


class MapUnreadable(OSError):
    """The content map cannot be read: the files are to be made anew."""


class Blocks:
    """Owns ``data`` and ``side`` (the descriptor of the content map). ``size``: the file's, in
    bytes, in the generation whose ``seed`` the hashes have; it may be set where not ``stamped``,
    that is where no last uses of parts are noted, since where their place is depends on it.

    Safe to use from several threads; none may be inside another method when :meth:`close` is
    called. Ranges are whole blocks of the file: first block and count where not bytes. Raises
    ``OSError``.
    """

    def __init__(
        self,
        filesystem: Filesystem,
        data: DataFile,
        side: int,
        *,
        seed: int,
        size: int,
        verify: Verify,
        stamped: bool = True,
    ) -> None:
        self.data = data
        self.size = size
        self._filesystem = filesystem
        self._side = side
        self._seed = seed
        self._verify = verify
        self._map = ContentMap(
            lambda at, raw: filesystem.read_some(side, raw, at),
            # One call: what it leaves out reads as zero, and zero is "not stored".
            self._store,
        )
        self._map_now = ContentMap(lambda at, raw: filesystem.read_now(side, raw, at), self._store)
        self._verified = Verified()
        self._recency = Recency(size if stamped else 0, self._store)

    def occupancy(self, first: int, count: int) -> list[Extent]:
        """Which blocks are stored, in bytes: data by SEEK_DATA and an entry in the map."""
        mapped = runs(first, self._entries(first, count), BLOCK, self.size)
        if not mapped:
            return []
        data = self.data.extents(mapped[0][0], mapped[-1][1])
        return intersect(mapped, whole_blocks(data, BLOCK, self.size))

    def read(self, first: int, count: int, target: memoryview) -> bool:
        """Fill ``target`` with blocks that all have proved right; a wrong one is struck."""
        expected = self._entries(first, count)
        if 0 in expected:
            return False
        before = None
        if self._verify is not Verify.ALWAYS:
            before = self.data.changed(), time.time_ns()
        got = self._read_data(first, count, target)
        if got < len(target):
            self._map.clear_if(list(enumerate(expected, start=first))[max(got, 0) // BLOCK :])
            return False
        if not self._proved(first, target, expected, before):
            return False
        self._note(first, target)
        return True

    def read_now(self, first: int, count: int, target: memoryview) -> bool:
        """As :meth:`read` of what needs no wait for a disk; False as well where one would be
        needed. Nothing is struck; never raises."""
        expected = self._map_now.entries(first, count)
        if 0 in expected or not self.data.read_now(target, first * BLOCK):
            return False
        if block_hashes(self._seed, first, target) != expected:
            return False
        self._note(first, target)
        return True

    def hashes(self, first: int, data: memoryview) -> list[int]:
        """The entries that ``data`` will have, for :meth:`enter`."""
        return block_hashes(self._seed, first, data)

    def enter(self, first: int, hashes: Sequence[int], data: memoryview) -> None:
        """Say that ``data``, which is written, is stored."""
        self._map.put(first, hashes)
        self._note(first, data)

    def flush(self) -> None:
        """Put what is known of the last uses into the side file."""
        self._recency.flush()

    def sync(self) -> None:
        """Have what was stored up to here outlive a power loss."""
        self.data.sync()
        self._filesystem.sync_data(self._side)

    def strike_for(self, size: int, changed: Sequence[Extent]) -> None:
        """No entry is left, also after a power loss, of a block that is another in a file of
        ``size`` bytes, of which ``changed`` names what is not as before. The files are to be used
        by :meth:`renewed` from then on."""
        keep = kept_blocks(self.size, size)
        for extent in changed:
            touched = touched_blocks(extent)
            end = min(touched.stop, block_count(self.size) if keep is None else keep)
            if touched.start < end:
                self._map.clear(touched.start, end - touched.start)
        if keep is not None:  # the stamps go with them, since they lie elsewhere now
            self._filesystem.truncate(self._side, keep * ENTRY)
        if changed or keep is not None:
            self._filesystem.sync_data(self._side)

    def unmark(self, first: int, count: int) -> int:
        """Strike what is stored of these blocks; how many were."""
        stored = count - self._entries(first, count).count(0)
        if stored:
            self._map.clear(first, count)
        return stored

    def cut(self, count: int) -> int:
        """Only the first ``count`` blocks are left: entries first, then the data; bytes freed."""
        self._filesystem.truncate(self._side, count * ENTRY)
        return self.data.cut(count * BLOCK)

    def forget_stamps(self) -> None:
        """No last uses are in the side file any more, so that entries may stand there."""
        self._filesystem.truncate(self._side, block_count(self.size) * ENTRY)

    def renewed(self, size: int, *, stamped: bool = True) -> Blocks:
        """The same files for a version of ``size`` bytes; owns them instead of this one."""
        return Blocks(
            self._filesystem,
            self.data,
            self._side,
            seed=self._seed,
            size=size,
            verify=self._verify,
            stamped=stamped,
        )

    def close(self) -> None:
        """Give the descriptors back. Never raises."""
        self._filesystem.close(self._side)
        self.data.close()  # last, with the lock that says that the files are in use

    def _store(self, offset: int, entries: bytes) -> None:
        self._filesystem.write_all(self._side, entries, offset)

    def _note(self, first: int, moved: memoryview) -> None:
        self._recency.note(first * BLOCK, first * BLOCK + len(moved), time.time_ns())

    def _entries(self, first: int, count: int) -> list[int]:
        try:
            return self._map.entries(first, count)
        except OSError as error:
            if error.errno in (errno.EIO, errno.ESPIPE):  # the second: a map that is a pipe
                raise MapUnreadable(error.errno, error.strerror) from error
            raise

    def _proved(
        self,
        first: int,
        got: memoryview,
        expected: list[int],
        before: tuple[int, int] | None,
    ) -> bool:
        """Whether the bytes read are right; wrong ones are struck. ``before``: the change time
        when their reading began, and when that was, where these are of use."""
        count = len(expected)
        if before is not None and self.data.changed() == before[0]:
            if self._verify is Verify.NEVER:
                return self._extends_over(first, len(got))
            if self._verified.covers(first, count, before[0]):
                return True
        else:
            before = None
        actual = block_hashes(self._seed, first, got)
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

    def _extends_over(self, first: int, length: int) -> bool:
        start, end = first * BLOCK, first * BLOCK + length
        return self.data.extents(start, end) == [(start, end)]

    def _read_data(self, first: int, count: int, target: memoryview) -> int:
        try:
            return self.data.read_into(target, first * BLOCK)
        except OSError as error:
            # A sector that cannot be read would end every later use of this cache in the same
            # place: strike the range now, so that the next mount fetches it again.
            if error.errno == errno.EIO:
                with suppress(OSError):
                    self._map.clear(first, count)
            raise


def block_range(start: int, length: int, size: int) -> tuple[int, int]:
    """First block and number of blocks of ``length`` bytes from ``start``. ``ValueError`` unless
    they are whole, and those of a file of ``size`` bytes."""
    if length <= 0:
        return 0, 0
    end = start + length
    if start < 0 or start % BLOCK or end > size or (end % BLOCK and end != size):
        raise ValueError(f"[{start}, {end}) is not made of blocks of {size} bytes")
    return start // BLOCK, -(-length // BLOCK)
