"""Bind a directory as a cache: check that it can hold one, lock it, hand out its volumes.

Any number of processes of one user share it: each holds a shared flock on ``lock`` until
:meth:`Cache.close` (the kernel drops it with the process), and what must be done alone, making the
directory and setting aside what another version left, is done under an exclusive one. The file
``version`` names the format of everything below ``volumes``; what another version of this library
left is renamed, never read and never removed. Links, pipes and devices in place of one of these
files are refused, and no more is read of a file than it may hold.
"""

from __future__ import annotations

import errno
import os
import stat
import time
from contextlib import suppress
from pathlib import Path
from threading import Lock

from cachefiles.backing import Filesystem
from cachefiles.blocks import Verify
from cachefiles.errors import CacheBusy, CacheError, CacheUnusable, translated
from cachefiles.faults import Faults
from cachefiles.graveyard import NAME as GRAVEYARD
from cachefiles.graveyard import Graveyard
from cachefiles.key import file_name
from cachefiles.limits import Limits
from cachefiles.probe import probe
from cachefiles.space import Space
from cachefiles.volume import Volume
from cachefiles.walk import VOLUME_XATTR

VERSION = b"cachefiles 2\n"
_WORD = b"cachefiles "
_VOLUMES = "volumes"
_OURS = frozenset(
    {"lock", "version", "version.new", _VOLUMES, GRAVEYARD, "probe", "space", "cull", "lost+found"}
)
_BIND_TIMEOUT = 4.0
"""Seconds to wait for a process that binds the directory at the same time."""


class Cache:
    """A bound directory. Safe to use from several threads. Made by :meth:`bind`.

    ``set_aside`` is the folder that holds what another version left, if this bind found any.
    """

    def __init__(
        self, directory: Path, filesystem: Filesystem, limits: Limits, verify: Verify
    ) -> None:
        self.directory = directory
        self._limits = limits
        self._verify = verify
        self._space: Space | None = None
        self._graveyard: Graveyard | None = None
        self.set_aside: Path | None = None
        self._filesystem = filesystem
        self._lock = Lock()
        self._lock_fd = -1
        self._top = -1
        self._folder = -1
        self._volumes: dict[bytes, Volume] = {}

    @classmethod
    def bind(
        cls,
        directory: Path,
        faults: Faults | None = None,
        *,
        limits: Limits | None = None,
        verify: Verify = Verify.OPEN,
    ) -> Cache:
        """Use ``directory``, which is made (0700) if it is missing.

        ``limits`` are this process's; where several differ, the strictest holds in effect. Raises
        ``CacheBusy`` when a process of another format has it, ``CacheUnusable`` with the reason
        when it cannot hold a cache: not ours, writable by others, holding other files, read-only,
        without extended attributes or holes, or full before anything was stored. A cache that
        filled up later can be bound, to be read.
        """
        cache = cls(directory, Filesystem(faults), limits or Limits(), verify)
        try:
            cache._bind()
        except OSError as error:
            cache.close()
            reason = error.strerror or str(error)
            if isinstance(error.filename, str) and "/" not in error.filename:
                reason = f"{error.filename}: {reason}"  # one of our own, or what has its name
            raise CacheUnusable(f"cannot use {directory} as a cache: {reason}") from error
        except BaseException:
            cache.close()
            raise
        return cache

    def volume(self, key: bytes) -> Volume:
        """The volume ``key``, made if it is new; the same object for the same key."""
        with self._lock, translated("opening a cache volume"):
            if self._folder < 0 or self._graveyard is None:
                raise CacheError("the cache is closed")
            volume = self._volumes.get(key)
            if volume is None:
                name = file_name(key)
                self._filesystem.make_folder(name, self._folder)
                folder = self._filesystem.open_folder(name, self._folder)
                with suppress(OSError):  # only people read it
                    self._filesystem.set_xattr(folder, VOLUME_XATTR, key[:512])
                volume = self._volumes[key] = Volume(
                    self._filesystem, key, folder, self._graveyard, self._verify
                )
            return volume

    @property
    def space(self) -> Space:
        """The count of what the cache takes. Raises ``CacheError`` when closed."""
        if self._space is None:
            raise CacheError("the cache is closed")
        return self._space

    @property
    def graveyard(self) -> Graveyard:
        """Where what is buried waits to be freed. Raises ``CacheError`` when closed."""
        if self._graveyard is None:
            raise CacheError("the cache is closed")
        return self._graveyard

    def sync(self) -> None:
        """Have what was stored up to here outlive a power loss. Raises ``CacheError``."""
        with self._lock:
            volumes = list(self._volumes.values())
        for volume in volumes:
            volume.sync()

    def open_volumes(self) -> int:
        """A descriptor of the directory of volumes, the caller's to close."""
        with self._lock:
            if self._folder < 0:
                raise CacheError("the cache is closed")
            return self._filesystem.open_folder(".", self._folder)

    @property
    def filesystem(self) -> Filesystem:
        """For the culler and the administrator's command."""
        return self._filesystem

    def close(self) -> None:
        """Close the volumes and give the directory free for others. Idempotent."""
        with self._lock:
            for volume in self._volumes.values():
                volume.close()
            self._volumes.clear()
            if self._graveyard is not None:
                self._graveyard.close()
                self._graveyard = None
            if self._space is not None:
                self._space.close()
                self._space = None
            for fd in (self._folder, self._top, self._lock_fd):
                if fd >= 0:
                    self._filesystem.close(fd)
            self._folder = self._top = self._lock_fd = -1

    def _unusable(self, reason: str) -> CacheUnusable:
        return CacheUnusable(f"cannot use {self.directory} as a cache: {reason}")

    def _bind(self) -> None:
        if not self.directory.parent.exists():
            self.directory.parent.mkdir(parents=True, exist_ok=True)
        with suppress(FileExistsError):
            self.directory.mkdir(mode=0o700)
        self._top = self._filesystem.open_folder(os.fspath(self.directory))
        self._check_owner()
        self._check_content()
        alone = self._take_lock()
        known = self._check_version(alone=alone)
        if alone:  # otherwise the process that made it, and has it bound, found it good
            self._probe(known=known)
        self._filesystem.make_folder(_VOLUMES, self._top)
        self._folder = self._filesystem.open_folder(_VOLUMES, self._top)
        self._count(alone=alone, empty=not known).sweep()
        if alone:
            self._share_lock()

    def _probe(self, *, known: bool) -> None:
        try:
            reason = probe(self._filesystem, self._top)
        except OSError as error:
            if not known or error.errno not in (errno.ENOSPC, errno.EDQUOT):
                raise
            reason = None  # it passed when it was made; full now, it can still be read
        if reason is not None:
            raise self._unusable(reason)

    def _count(self, *, alone: bool, empty: bool) -> Graveyard:
        fd = self._filesystem.open_own("space", self._top, create=True)
        self._space = Space(self._filesystem, fd, self._top, self._limits)
        self._space.begin(alone=alone, empty=empty)
        self._filesystem.make_folder(GRAVEYARD, self._top)
        fd = self._filesystem.open_folder(GRAVEYARD, self._top)
        self._graveyard = Graveyard(self._filesystem, fd, self._space)
        return self._graveyard

    def _check_owner(self) -> None:
        about = os.fstat(self._top)
        if about.st_uid != os.geteuid():
            raise self._unusable(f"it belongs to user {about.st_uid}")
        if stat.S_IMODE(about.st_mode) & 0o022:
            raise self._unusable("others can write to it")

    def _check_content(self) -> None:
        """Keep out of a home directory, and make what is ours private."""
        if not read_version(self._filesystem, self._top).startswith(_WORD):
            for name in os.listdir(self._top):
                if name not in _OURS and not name.startswith(_VOLUMES + "."):
                    raise self._unusable("it holds other files")
        mode = stat.S_IMODE(os.fstat(self._top).st_mode)
        if mode & 0o077:
            os.fchmod(self._top, mode & 0o700)

    def _take_lock(self) -> bool:
        """Whether no other process uses the cache: then it is locked for us alone as yet."""
        self._lock_fd = self._filesystem.open_own("lock", self._top, create=True)
        end = time.monotonic() + _BIND_TIMEOUT
        while not self._filesystem.lock(self._lock_fd):
            if self._filesystem.lock(self._lock_fd, shared=True):
                if read_version(self._filesystem, self._top):
                    return False
                self._filesystem.unlock(self._lock_fd)  # the process that was making it was killed
            if time.monotonic() >= end:
                raise self._busy()
            time.sleep(0.001)  # another one is just binding it
        return True

    def _share_lock(self) -> None:
        """Let others in. The kernel gives the one lock away before it has the other: another
        process that waits to bind may come in between, and then is alone for as long as that
        takes."""
        end = time.monotonic() + _BIND_TIMEOUT
        while not self._filesystem.lock(self._lock_fd, shared=True):
            if time.monotonic() >= end:
                raise self._busy()
            time.sleep(0.001)

    def _busy(self) -> CacheBusy:
        return CacheBusy(f"the cache in {self.directory} is in use by a process of another version")

    def _check_version(self, *, alone: bool) -> bool:
        """Whether this is a cache of our format. If not, it is one (empty) afterwards."""
        version = read_version(self._filesystem, self._top)
        if version == VERSION:
            return True
        if not alone:
            raise self._busy()
        if _VOLUMES in os.listdir(self._top):
            self._set_aside(version)
        self._filesystem.unlink("space", self._top)
        self._filesystem.unlink("version.new", self._top)
        fd = self._filesystem.create("version.new", self._top)
        try:
            self._filesystem.write_all(fd, VERSION, 0)
            self._filesystem.sync(fd)  # or a power loss leaves an empty file: all set aside
        finally:
            self._filesystem.close(fd)
        self._filesystem.rename("version.new", "version", self._top)
        return False

    def _set_aside(self, version: bytes) -> None:
        text = version.removeprefix(_WORD).strip().decode("ascii", "replace")[:16]
        label = "".join(c if c.isascii() and c.isalnum() else "_" for c in text) or "unknown"
        taken = set(os.listdir(self._top))
        name = f"{_VOLUMES}.{label}"
        number = 1
        while name in taken:
            number += 1
            name = f"{_VOLUMES}.{label}.{number}"
        self._filesystem.rename(_VOLUMES, name, self._top)
        self.set_aside = self.directory / name


def read_version(filesystem: Filesystem, top: int) -> bytes:
    """What the cache in the directory ``top`` says of its format, at most 100 bytes; b"" when it
    says nothing. Raises ``OSError``, also for what is no regular file."""
    try:
        fd = filesystem.open_own("version", top)
    except FileNotFoundError:
        return b""
    try:
        text = bytearray(100)
        return bytes(text[: filesystem.read_some(fd, memoryview(text), 0)])
    finally:
        filesystem.close(fd)
