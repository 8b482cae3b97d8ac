"""The directory of one volume: its objects' files, found, made and buried by one process at a time.

Every process that uses the volume, and each culler, has a :class:`Folder` of its own. What makes,
removes or looks up names holds the directory's flock meanwhile: tens of microseconds, so that a
backing file and its map always belong together. A backing file that a process has open as an object
carries a shared flock of its own, taken under the directory's; a process that wants to remove what
is not in use asks for it alone. What may be in use is buried (``graveyard.py``), and its grave to
be settled by the caller once it holds no lock: freeing the blocks of a large file takes long.
"""

from __future__ import annotations

import errno
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field

from cachefiles import generation as header
from cachefiles.backing import Filesystem
from cachefiles.coherency import Record
from cachefiles.generation import HEADER_XATTR, Generation
from cachefiles.graveyard import Graveyard
from cachefiles.key import MAP_SUFFIX
from cachefiles.turn import Turn

PATH_XATTR = "user.cachefiles.path"
"""On a backing file: where the file is on its share, for people and for listing. At most 1,024
bytes: longer ones lose their beginning."""

PINNED_XATTR = "user.cachefiles.pinned"
"""On a backing file that must not be culled; any value."""

PATH_MAX = 1024

_LOCK_TIMEOUT = 2.0
"""Seconds to wait for the directory. Only a process stopped in the middle has it so long."""

NO_FILE_OF_OURS = frozenset(
    {errno.ELOOP, errno.ENXIO, errno.EACCES, errno.EISDIR, errno.ENOTDIR, errno.ESPIPE}
)
"""What is there is a symlink, a socket, a folder, a pipe, or a file that we never made with this
mode."""


@dataclass(frozen=True, slots=True)
class Stored:
    """Usable files with their generation, as found on disk; the caller owns the descriptors.
    ``pinned``: as far as it was asked for."""

    data: int
    map: int
    generation: Generation
    pinned: bool = False


@dataclass(frozen=True, slots=True)
class Gone:
    """Nothing usable was there. ``replaced``: what was there is unlinked, was it ``pinned``?
    ``kept``: it is not, being of another generation."""

    replaced: bool = False
    kept: bool = False
    pinned: bool = False


@dataclass(slots=True)
class Doomed:
    """What a call of :class:`Folder` leaves to its caller, to be put away with
    :meth:`Folder.put_away` when no lock is held: descriptors and graves. ``half_made``: an object
    of which a part was made and buried, so that its bytes are counted as freed there, and not to be
    given back as well."""

    descriptors: list[int] = field(default_factory=list)
    graves: list[str] = field(default_factory=list)
    half_made: bool = False


class Folder:
    """Owns ``fd``, the directory; borrows the graveyard. Raises ``OSError``."""

    def __init__(self, filesystem: Filesystem, fd: int, graveyard: Graveyard) -> None:
        self.fd = fd
        self._filesystem = filesystem
        self._graveyard = graveyard
        self._turn = Turn(filesystem, fd)

    @contextmanager
    def alone(self) -> Iterator[None]:
        """No other thread or process makes, removes or looks up names meanwhile. ``TimeoutError``
        where another process keeps the directory: after a wait the first time, at once from then
        on."""
        with self._turn.taken(_LOCK_TIMEOUT):
            yield

    def find(
        self, path: str, fits: Callable[[Record], bool], doomed: Doomed, *, keep: bool = False
    ) -> Stored | Gone:
        """What is on disk if it fits and is finished, in use from now on. Otherwise it is buried,
        but not with ``keep`` what is of another generation. Call it alone.
        """
        opened: list[int] = []
        pinned = whole = False
        try:
            opened.append(self._filesystem.open(path, self.fd))
            raw = self._filesystem.get_xattr(opened[0], HEADER_XATTR)
            generation = None if raw is None else header.decode(raw)
            finished = generation is not None and not generation.unfinished
            if generation is not None and finished and fits(generation.record):
                self._filesystem.lock(opened[0], shared=True)
                map_path = path + MAP_SUFFIX
                opened.append(self._filesystem.create(map_path, self.fd, exclusive=False))
                found = Stored(opened[0], opened[1], generation)
                opened.clear()
                return found
            pinned = self.is_pinned(opened[0])
            whole = generation is not None
        except FileNotFoundError:
            return Gone()
        except OSError as error:
            if error.errno not in NO_FILE_OF_OURS:
                raise
        finally:
            doomed.descriptors += opened
        if keep and whole:
            return Gone(kept=True)
        self.bury(path, doomed)
        return Gone(replaced=True, pinned=pinned)

    def make(
        self, path: str, generation: Generation, label: bytes, doomed: Doomed, *, pinned: bool
    ) -> tuple[int, int]:
        """New files (data, map), in use, already charged. Call it alone, where there are none."""
        made: list[int] = []
        try:
            made.append(self._create(path, doomed))
            self._filesystem.lock(made[0], shared=True)
            self._filesystem.set_xattr(made[0], HEADER_XATTR, header.encode(generation))
            self._label(made[0], label)
            if pinned:
                self._filesystem.set_xattr(made[0], PINNED_XATTR, b"1")
            made.append(self._create(path + MAP_SUFFIX, doomed))
        except BaseException:
            doomed.descriptors += made
            if made:
                doomed.half_made = True
                self.bury(path, doomed)
            raise
        return made[0], made[1]

    def take_alone(self, data: int) -> bool:
        """Whether no other process, and no other opening, uses the object; ``data`` is in use
        all the same afterwards. Call it alone: then no process begins to use it either."""
        taken = self._filesystem.lock(data)
        # A conversion that fails has lost the lock as well.
        return self._filesystem.lock(data, shared=True) and taken

    def restamp(self, data: int, generation: Generation) -> None:
        """Have the files stand for another record, or be unfinished. Call it alone, having taken
        ``data`` alone."""
        self._filesystem.set_xattr(data, HEADER_XATTR, header.encode(generation))

    def move(self, old: str, new: str, doomed: Doomed) -> None:
        """Move both files, the map first, and bury what is in their way. Call it alone. A map that
        a crash leaves alone claims nothing."""
        self.bury(new, doomed)
        self._filesystem.make_folder(new.partition("/")[0], self.fd)
        for suffix in (MAP_SUFFIX, ""):
            self._filesystem.rename(old + suffix, new + suffix, self.fd)

    def describe(self, data: int, label: bytes) -> None:
        """Note where the file is on its share, if that is not noted yet. Never raises."""
        if not label:
            return
        with suppress(OSError):
            if self._filesystem.get_xattr(data, PATH_XATTR) != label[-PATH_MAX:]:
                self._label(data, label)

    def _label(self, data: int, label: bytes) -> None:
        """Note where a file is on its share. Never raises: only people read it."""
        if label:
            with suppress(OSError):
                self._filesystem.set_xattr(data, PATH_XATTR, label[-PATH_MAX:])

    def is_pinned(self, data: int) -> bool:
        """Whether the backing file must not be culled."""
        return self._filesystem.get_xattr(data, PINNED_XATTR) is not None

    def touch(self, data: int) -> None:
        """Note that the object is used now. Never raises: it decides what goes first, no more."""
        with suppress(OSError):
            self._filesystem.set_used(data, time.time_ns())

    def bury(self, path: str, doomed: Doomed) -> None:
        """Take both files out of their place. Call it alone. A process that has them open goes
        on."""
        doomed.graves.append(self._graveyard.bury(path, self.fd))

    def remove(self, path: str) -> int:
        """Unlink both files, which the caller has locked alone; returns the bytes, to be given
        back when it has closed them. Call it alone."""
        freed = 0
        for name in (path, path + MAP_SUFFIX):
            size = self._filesystem.allocated(name, self.fd)
            if self._filesystem.unlink(name, self.fd):
                freed += size
        return freed

    def put_away(self, doomed: Doomed) -> int:
        """Close and settle; the bytes freed. Never raises. Call it without any lock."""
        for fd in reversed(doomed.descriptors):
            self._filesystem.close(fd)
        return self._graveyard.settle(doomed.graves)

    def close(self) -> None:
        """Give the directory back."""
        self._filesystem.close(self.fd)

    def _create(self, name: str, doomed: Doomed) -> int:
        """A new file. A crash between two renames or creations may have left one: it is buried."""
        try:
            return self._filesystem.create(name, self.fd)
        except FileNotFoundError:
            self._filesystem.make_folder(name.partition("/")[0], self.fd)
        except FileExistsError:
            self.bury(name, doomed)
        return self._filesystem.create(name, self.fd)
