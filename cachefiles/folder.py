"""The directory of one volume: its objects' files, found, made and buried by one process at a time.

Every process that uses the volume, and each culler, has a :class:`Folder` of its own. What makes,
removes or looks up names holds the directory's flock meanwhile: tens of microseconds, so that a
backing file and its map always belong together. A backing file that somebody has open as an object
carries a shared flock of its own, taken under the directory's; who wants to bury what is not in use
asks for it alone.
"""

from __future__ import annotations

import errno
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass

from cachefiles import coherency as record_format
from cachefiles.backing import Filesystem
from cachefiles.coherency import RECORD_XATTR, Record
from cachefiles.key import MAP_SUFFIX
from cachefiles.space import Space

PATH_XATTR = "user.cachefiles.path"
"""On a backing file: where the file is on its share, for people and for listing. At most 1,024
bytes: longer ones lose their beginning."""

PINNED_XATTR = "user.cachefiles.pinned"
"""On a backing file that must not be culled; any value."""

PATH_MAX = 1024

_PATIENCE = 2.0
"""Seconds to wait for the directory. Only a process stopped in the middle has it so long."""

_NO_FILE_OF_OURS = frozenset({errno.ELOOP, errno.ENXIO, errno.EACCES, errno.EISDIR})
"""Opening met a symlink, a socket, a folder, or a file that we never made with this mode."""


@dataclass(frozen=True, slots=True)
class Stored:
    """Usable files with their record, as found on disk; the caller owns the descriptors."""

    data: int
    map: int
    raw: bytes
    record: Record


@dataclass(frozen=True, slots=True)
class Gone:
    """Nothing usable was there. ``replaced``: what was there is unlinked, was it ``pinned``?
    ``kept``: it is not, being of another generation."""

    replaced: bool = False
    kept: bool = False
    pinned: bool = False


class Folder:
    """Owns ``fd``, the directory. Raises ``OSError``."""

    def __init__(self, filesystem: Filesystem, fd: int, space: Space) -> None:
        self.fd = fd
        self._filesystem = filesystem
        self._space = space

    @contextmanager
    def alone(self) -> Iterator[None]:
        """Nobody else makes, removes or looks up names meanwhile."""
        with self._filesystem.locked(self.fd, _PATIENCE):
            yield

    def find(
        self, path: str, fits: Callable[[Record], bool], doomed: list[int], *, keep: bool = False
    ) -> Stored | Gone:
        """What is on disk if it fits, in use from now on. Otherwise it is unlinked, but not with
        ``keep`` what is of another generation. Descriptors to be closed outside of all locks are
        added to ``doomed``. Call it alone.
        """
        opened: list[int] = []
        pinned = whole = False
        try:
            opened.append(self._filesystem.open(path, self.fd))
            raw = self._filesystem.get_xattr(opened[0], RECORD_XATTR)
            record = None if raw is None else record_format.decode(raw)
            if raw is not None and record is not None and fits(record):
                self._filesystem.lock(opened[0], shared=True)
                map_path = path + MAP_SUFFIX
                opened.append(self._filesystem.create(map_path, self.fd, exclusive=False))
                found = Stored(opened[0], opened[1], raw, record)
                opened.clear()
                return found
            pinned = self.is_pinned(opened[0])
            whole = record is not None
        except FileNotFoundError:
            return Gone()
        except OSError as error:
            if error.errno not in _NO_FILE_OF_OURS:
                raise
        finally:
            doomed += opened
        if keep and whole:
            return Gone(kept=True)
        self.bury(path)
        return Gone(replaced=True, pinned=pinned)

    def make(self, path: str, raw: bytes, label: bytes, *, pinned: bool) -> tuple[int, int]:
        """New files (data, map), in use, already charged. Call it alone, where there are none."""
        made: list[int] = []
        try:
            made.append(self._create(path))
            self._filesystem.lock(made[0], shared=True)
            self._filesystem.set_xattr(made[0], RECORD_XATTR, raw)
            self.describe(made[0], label)
            if pinned:
                self._filesystem.set_xattr(made[0], PINNED_XATTR, b"1")
            made.append(self._create(path + MAP_SUFFIX))
        except BaseException:
            for fd in made:
                self._filesystem.close(fd)
            if made:
                self.bury(path)
            raise
        return made[0], made[1]

    def describe(self, data: int, label: bytes) -> None:
        """Note where the file is on its share, if that is not noted yet. Never raises."""
        if not label:
            return
        with suppress(OSError):  # only people read it
            label = label[-PATH_MAX:]
            if self._filesystem.get_xattr(data, PATH_XATTR) != label:
                self._filesystem.set_xattr(data, PATH_XATTR, label)

    def is_pinned(self, data: int) -> bool:
        """Whether the backing file must not be culled."""
        return self._filesystem.get_xattr(data, PINNED_XATTR) is not None

    def touch(self, data: int) -> None:
        """Note that the object is used now. Never raises: it decides what goes first, no more."""
        with suppress(OSError):
            self._filesystem.set_used(data, time.time_ns())

    def bury(self, path: str) -> int:
        """Unlink both files and give their room back; returns the bytes. Call it alone.

        The backing file first: a map alone claims nothing, its seed fits no other generation.
        Whoever has them open goes on with inodes that have no name.
        """
        freed = 0
        for name in (path, path + MAP_SUFFIX):
            size = self._filesystem.allocated(name, self.fd)
            if self._filesystem.unlink(name, self.fd):
                freed += size
        self._space.freed(freed)
        return freed

    def close(self) -> None:
        """Give the directory back."""
        self._filesystem.close(self.fd)

    def _create(self, path: str) -> int:
        try:
            return self._filesystem.create(path, self.fd)
        except FileNotFoundError:
            self._filesystem.make_folder(path.partition("/")[0], self.fd)
        except FileExistsError:
            # Left by a crash between the two unlinks or the two creations.
            self._filesystem.unlink(path, self.fd)
        return self._filesystem.create(path, self.fd)
