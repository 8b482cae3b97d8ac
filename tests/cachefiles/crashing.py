"""A cache whose process dies before any one of its calls, and whose disk may lose its power then.

On a loss of power each page of the data, and each entry of a map, is what it was when it was last
synced or what was written since, with any header that these files had since that was synced. What
was cut off, buried or moved since the last sync of the whole disk may be back in its place.
"""

from __future__ import annotations

import os
import random
import shutil
import tempfile
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from hypothesis.stateful import RuleBasedStateMachine

from cachefiles import BLOCK, Cache, Faults
from cachefiles.contentmap import ENTRY
from cachefiles.generation import HEADER_XATTR
from tests.cachefiles.conftest import content_of

PAGE = 4096
PIECES = [content_of(BLOCK, seed) for seed in range(40)]
"""What a block may hold, so that making contents costs nothing."""


class Killed(BaseException):
    """The process is gone: nothing after it runs."""


class Dying(Faults):
    """Lets the process die before a call, and before each one that tries to clean up."""

    def __init__(self):
        super().__init__()
        self.left = None

    def enter(self, call, length=0):
        if self.left is not None:
            if not self.left:
                raise Killed
            self.left -= 1
        return super().enter(call, length)


@dataclass(frozen=True)
class Left:
    """A file that was moved away from ``path``: what it held then, with which headers."""

    path: Path
    data: bytes
    synced: bytes
    headers: tuple[bytes, ...]


class CrashingCache(RuleBasedStateMachine):
    """One cache in memory: ``folder``, ``cache``, ``volume``, ``faults``."""

    def begin(self):
        """Call it first."""
        self.folder = Path(tempfile.mkdtemp(dir="/dev/shm"))
        self.synced = {}  # inode -> what a loss of power leaves at least
        self.headers = {}  # inode -> every one that a loss of power may leave
        self.left = {}  # path -> what was there and may be back

    def end(self):
        """Call it last."""
        self.faults.left = None
        self.cache.close()
        shutil.rmtree(self.folder)

    def bind(self):
        """Open the cache, by another process so to speak."""
        self.faults = Dying()
        self.cache = Cache.bind(self.folder / "cache", self.faults)
        self.volume = self.cache.volume(b"v")
        filesystem = self.cache.filesystem
        plain = {
            name: getattr(filesystem, name)
            for name in ("sync", "sync_data", "sync_all", "set_xattr", "move", "rename")
        }

        def sync_data(fd):
            plain["sync_data"](fd)
            self.note_synced(Path(f"/proc/self/fd/{fd}"))

        def sync(fd):
            plain["sync"](fd)
            path = Path(f"/proc/self/fd/{fd}")
            self.note_synced(path)
            self.note_header_synced(path)

        def sync_all(fd):
            plain["sync_all"](fd)
            for path in self.files():
                self.note_synced(path)
                self.note_header_synced(path)
            self.left.clear()

        def set_xattr(fd, name, value):
            plain["set_xattr"](fd, name, value)
            if name == HEADER_XATTR:
                self.headers.setdefault(os.fstat(fd).st_ino, []).append(value)

        def move(old, old_folder, new, new_folder):
            before = self.noted(self.path_below(old_folder) / old)
            plain["move"](old, old_folder, new, new_folder)
            self.left |= before

        def rename(old, new, dir_fd):
            before = self.noted(self.path_below(dir_fd) / old)
            plain["rename"](old, new, dir_fd)
            self.left |= before

        for name, call in (
            ("sync_data", sync_data),
            ("sync", sync),
            ("sync_all", sync_all),
            ("set_xattr", set_xattr),
            ("move", move),
            ("rename", rename),
        ):
            setattr(filesystem, name, call)

    def path_below(self, fd):
        return Path(os.readlink(f"/proc/self/fd/{fd}"))

    def files(self):
        """All files of objects."""
        return sorted((self.folder / "cache/volumes").glob("*/*/*"))

    def note_synced(self, path):
        self.synced[path.stat().st_ino] = path.read_bytes()

    def note_header_synced(self, path):
        headers = self.headers.get(path.stat().st_ino)
        if headers:
            del headers[:-1]

    def noted(self, path):
        """What may be back where it was, by its path; nothing for what is no file of an object."""
        if not path.is_file() or path.parent.parent.parent.name != "volumes":
            return {}
        number = path.stat().st_ino
        return {
            path: Left(
                path,
                path.read_bytes(),
                self.synced.get(number, b""),
                tuple(self.headers.get(number, ())),
            )
        }

    def die(self):
        """The kernel closes what the process had open, and so lets go of its locks."""
        for name in os.listdir("/proc/self/fd"):
            with suppress(OSError):
                if os.readlink(f"/proc/self/fd/{name}").startswith(f"{self.folder}/"):
                    os.close(int(name))

    def lose_power(self, dice):
        """What is left is chosen by ``dice``."""
        for path in self.files():
            number = path.stat().st_ino
            left = _torn(path, path.read_bytes(), self.synced.get(number, b""), dice)
            path.write_bytes(left)
            if self.headers.get(number):
                os.setxattr(path, HEADER_XATTR, dice.choice(self.headers[number]))
        for path, what in self.left.items():
            if dice.random() < 0.5:
                path.unlink(missing_ok=True)
                path.write_bytes(_torn(path, what.data, what.synced, dice))
                if what.headers:
                    os.setxattr(path, HEADER_XATTR, dice.choice(what.headers))
        self.left.clear()


def _torn(path: Path, now: bytes, before: bytes, dice: random.Random) -> bytes:
    """A mixture of what was synced and what is, in units that a disk writes whole. What was cut off
    may be there still."""
    length = max(len(now), len(before)) if dice.random() < 0.5 else len(now)
    unit = ENTRY if path.suffix else PAGE
    lost = dice.choice((0.1, 0.5, 1.0))  # or a block of many pages would never be old as a whole
    before, left = before.ljust(length, b"\0"), bytearray(now.ljust(length, b"\0"))
    for at in range(0, length, unit):
        if left[at : at + unit] != before[at : at + unit] and dice.random() < lost:
            left[at : at + unit] = before[at : at + unit]
    return bytes(left[:length])
