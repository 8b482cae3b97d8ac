"""Where files go that are of no use any more, until their bytes are really free.

Unlinking frees nothing while some process has the file open. So what is buried is renamed into
``DIR/graveyard``, out of the way of its name's next owner and still found by every process that
counts. It is unlinked, and its bytes are given back, when no process uses it: the shared flock on a
backing file (``folder.py``) tells. A process that buries tries that at once; the culler, every
process that binds the cache, and a mount now and then, try it again with what was left. So it makes
no difference at which moment a process that buries is killed.

A grave that is in use carries the sticky bit: its users see by that that they write in vain.
"""

from __future__ import annotations

import os
import random
import secrets
import stat
from collections.abc import Iterable
from contextlib import suppress

from cachefiles.backing import Filesystem
from cachefiles.key import MAP_SUFFIX
from cachefiles.space import Space

NAME = "graveyard"

_SWEPT = 256
"""Graves looked at by one sweep: as many may be in use for long."""


class Graveyard:
    """Of one cache, as one process sees it. Owns ``fd``, the directory; ``space`` is borrowed.

    Safe to use from several threads. A grave is named by a string.
    """

    def __init__(self, filesystem: Filesystem, fd: int, space: Space) -> None:
        self.space = space
        self._filesystem = filesystem
        self._fd = fd

    def bury(self, path: str, folder: int) -> str:
        """Take the object at ``path`` below ``folder``, both files, out of its place; the grave,
        to be settled when the caller holds no lock. Raises ``OSError``.

        The backing file first: a map alone claims nothing, its seed fits no other generation.
        Links, pipes and the like in place of a file are removed, a folder if it is empty.
        """
        grave = secrets.token_hex(8)
        for suffix in ("", MAP_SUFFIX):
            mode = self._filesystem.mode(path + suffix, folder)
            if mode is None:
                continue
            if stat.S_ISREG(mode):
                with suppress(FileNotFoundError):
                    self._filesystem.move(path + suffix, folder, grave + suffix, self._fd)
            elif stat.S_ISDIR(mode):
                self._filesystem.remove_folder(path + suffix, folder)
            else:
                self._filesystem.unlink(path + suffix, folder)
        return grave

    def settle(self, graves: Iterable[str]) -> int:
        """Free those of ``graves`` that no process uses; returns the bytes. Never raises: what is
        left is found by the next sweep."""
        freed = 0
        for grave in graves:
            with suppress(OSError):
                freed += self._settle(grave)
        return freed

    def sweep(self) -> int:
        """Settle what others left. Never raises; the bytes freed."""
        graves = self._graves()
        return self.settle(graves if len(graves) <= _SWEPT else random.sample(graves, _SWEPT))

    def allocated(self) -> int:
        """Bytes on disk of everything that is buried. Raises ``OSError``."""
        return sum(self._filesystem.allocated(name, self._fd) for name in os.listdir(self._fd))

    def empty(self, wanted: int) -> int:
        """Punch graves that are in use until ``wanted`` bytes are free; the bytes freed.

        A reader of one finds hashes that do not fit, and fetches anew. Raises ``OSError``.
        """
        freed = 0
        for grave in self._graves():
            if freed >= wanted:
                break
            with suppress(FileNotFoundError):
                freed += self._settle(grave) or self._empty(grave)
        return freed

    def close(self) -> None:
        """Give the directory back."""
        fd, self._fd = self._fd, -1
        self._filesystem.close(fd)

    def _graves(self) -> list[str]:
        try:
            return sorted({name.removesuffix(MAP_SUFFIX) for name in os.listdir(self._fd)})
        except OSError:
            return []

    def _settle(self, grave: str) -> int:
        epoch = self.space.epoch()
        data = -1
        with suppress(FileNotFoundError, PermissionError):  # a map alone; not of our making
            data = self._filesystem.open(grave, self._fd)
        freed = 0
        try:
            if data >= 0 and not self._filesystem.lock(data):
                self._filesystem.mark_buried(data)
                return 0
            for name in (grave, grave + MAP_SUFFIX):
                size = self._filesystem.allocated(name, self._fd)
                if self._filesystem.unlink(name, self._fd):
                    freed += size
        finally:
            if data >= 0:
                self._filesystem.close(data)
            self.space.freed(freed, epoch)
        return freed

    def _empty(self, grave: str) -> int:
        opened: list[int] = []
        try:
            opened.append(data := self._filesystem.open(grave, self._fd))
            opened.append(side := self._filesystem.open(grave + MAP_SUFFIX, self._fd))
            epoch = self.space.epoch()
            before = self._filesystem.status(data)
            self._filesystem.truncate(side, 0)  # entries first, as the culler does
            if not before.st_size or not self._filesystem.punch(data, 0, before.st_size):
                return 0
            freed = max(0, before.st_blocks - self._filesystem.status(data).st_blocks) * 512
            self.space.freed(freed, epoch)
            return freed
        finally:
            for fd in opened:
                self._filesystem.close(fd)
