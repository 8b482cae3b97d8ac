"""What there is to know about stored objects, for people: names, sizes, what is stored and wrong.

Reads files in use by others without disturbing them; nothing here changes anything.
"""

from __future__ import annotations

import errno
import fcntl
import os
import stat
from collections.abc import Iterable, Iterator
from contextlib import suppress
from dataclasses import dataclass

from cachefiles import coherency, walk
from cachefiles.backing import Filesystem
from cachefiles.cache import Cache
from cachefiles.coherency import Record
from cachefiles.contentmap import BLOCK, ENTRY, ContentMap, block_count
from cachefiles.errors import translated
from cachefiles.extents import Extent, intersect, runs, whole_blocks
from cachefiles.folder import PATH_XATTR
from cachefiles.generation import HEADER_XATTR, Generation, decode
from cachefiles.key import MAP_SUFFIX, file_name, identity

_ENTRIES_AT_ONCE = 4096


@dataclass(frozen=True, slots=True)
class Listed:
    """An object as listings show it. ``volume`` and ``path`` are for people, ``name`` names its
    backing file; ``size`` is the remote file's, ``stored`` bytes on disk, ``used`` ns since the
    epoch; ``unfinished``: it is being changed, or a crash has left it so."""

    volume: str
    volume_name: str
    path: str
    name: str
    size: int
    stored: int
    used: int
    pinned: bool
    unfinished: bool

    def answers_to(self, text: str, volumes: Iterable[str]) -> bool:
        """Whether ``text`` names it: a path, a folder above, one of its ``volumes`` (the names that
        its volume goes by) with or without either, or the beginning of its name."""
        if len(text) >= 6 and self.name.startswith(text):
            return True
        plain = text.strip("/")
        names = [self.path, *(f"{volume}/{self.path}" for volume in volumes)]
        return any(
            name.strip("/") == plain or name.strip("/").startswith(f"{plain}/") for name in names
        )


@dataclass(frozen=True, slots=True)
class Opened:
    """An object's files, open for reading; ``map`` is -1 where there is none. ``volume_key`` is
    None where it is not known whole."""

    volume_key: bytes | None
    data: int
    map: int
    has_header: bool
    generation: Generation | None

    @property
    def record(self) -> Record | None:
        """The record that the files stand for, where it can be read."""
        return None if self.generation is None else self.generation.record

    @property
    def is_unfinished(self) -> bool:
        """Whether it is being changed, or was when its mount ended: nothing of it is found."""
        return self.generation is not None and self.generation.unfinished

    @property
    def key(self) -> bytes | None:
        """The object's key; None where only its beginning is known, or its volume's is not."""
        if self.record is None or self.volume_key is None:
            return None
        readable = self.record.readable
        return readable if identity(self.volume_key, readable) == self.record.identity else None

    def wrong(self, name: str) -> str | None:
        """Why nothing of it can be used, or None."""
        if not self.has_header:
            return "it has no record"
        if self.record is None:
            return "its record is damaged or of another format"
        readable = self.record.readable
        if len(readable) < coherency.READABLE_MAX:
            foreign = self.key is None and self.volume_key is not None
            if foreign or file_name(readable) != name:
                return "its record is of another object"
        if self.map < 0:
            return "it has no map"
        return None

    def entries(self, first: int, count: int) -> list[int]:
        """Entries of the map."""
        side = self.map
        if side < 0:
            return [0] * count
        return ContentMap(lambda at, raw: os.preadv(side, [raw], at), _read_only).entries(
            first, count
        )

    def mapped(self) -> Iterator[tuple[int, list[int]]]:
        """(first block, entries) of the map's parts that hold anything."""
        if self.record is None or self.map < 0:
            return
        blocks = block_count(self.record.size)
        filesystem = Filesystem()
        for start, end in filesystem.data_extents(self.map, 0, blocks * ENTRY):
            for first in range(start // ENTRY, min(-(-end // ENTRY), blocks), _ENTRIES_AT_ONCE):
                count = min(_ENTRIES_AT_ONCE, min(-(-end // ENTRY), blocks) - first)
                yield first, self.entries(first, count)

    def stored(self) -> list[Extent]:
        """What is stored: an entry in the map and data on the disk."""
        if self.record is None:
            return []
        size = self.record.size
        mapped: list[Extent] = []
        for first, entries in self.mapped():
            for start, end in runs(first, entries, BLOCK, size):
                if mapped and mapped[-1][1] == start:
                    mapped[-1] = (mapped[-1][0], end)
                else:
                    mapped.append((start, end))
        data = Filesystem().data_extents(self.data, 0, size)
        return intersect(mapped, whole_blocks(data, BLOCK, size))

    def close(self) -> None:
        """Close the files."""
        for fd in (self.map, self.data):
            if fd >= 0:
                os.close(fd)


def listed(cache: Cache) -> Iterator[Listed]:
    """Every object of the cache, as it is met. Maps without a backing file are left out."""
    for folder, volume_name, key in folders(cache):
        volume = key.decode("utf-8", "replace") or volume_name
        for entry in walk.objects(cache.filesystem, folder):
            if entry.size is None:
                continue
            generation, label = _attributes(f"/proc/self/fd/{folder}/{entry.path}")
            record = None if generation is None else generation.record
            path = label or (record.readable if record else b"")
            yield Listed(
                volume,
                volume_name,
                path.decode("utf-8", "replace") or "?",
                entry.path.rpartition("/")[2],
                record.size if record else entry.size,
                entry.allocated,
                entry.used,
                entry.pinned,
                generation is not None and generation.unfinished,
            )


def folders(cache: Cache) -> Iterator[tuple[int, str, bytes]]:
    """(descriptor, name, key) of each volume; the descriptor is good until the next."""
    with translated("reading the cache"):
        volumes_fd = cache.open_volumes()
        try:
            for name in walk.volumes(volumes_fd):
                try:
                    folder = cache.filesystem.open_folder(name, volumes_fd)
                except (FileNotFoundError, NotADirectoryError):
                    continue
                try:
                    yield folder, name, walk.volume_key(folder)
                finally:
                    cache.filesystem.close(folder)
        finally:
            cache.filesystem.close(volumes_fd)


def opened(folder: int, volume_name: str, volume_key: bytes, path: str) -> Opened:
    """The files of the object at ``path`` of the volume with directory ``folder``, its name, and
    its key as far as its attribute has it. Raises ``OSError``; close what it returns."""
    data = _open(path, folder)
    side = -1
    with suppress(OSError):
        side = _open(path + MAP_SUFFIX, folder)
    raw = None
    with suppress(OSError):
        raw = os.getxattr(data, HEADER_XATTR)
    whole = volume_key if file_name(volume_key) == volume_name else None
    generation = None if raw is None else decode(raw)
    return Opened(whole, data, side, raw is not None, generation)


def _open(path: str, folder: int) -> int:
    """A regular file for reading, which is no use of it; anything else is as if it were not."""
    flags = os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_NOATIME
    fd = os.open(path, flags, dir_fd=folder)
    with suppress(OSError):  # its bytes are not free while it is open here, see graveyard.py
        fcntl.flock(fd, fcntl.LOCK_SH | fcntl.LOCK_NB)
    about = os.fstat(fd)
    if not stat.S_ISREG(about.st_mode) or not about.st_nlink:
        os.close(fd)
        raise FileNotFoundError(errno.ENOENT, "no regular file", path)
    return fd


def _attributes(path: str) -> tuple[Generation | None, bytes]:
    generation: Generation | None = None
    label = b""
    with suppress(OSError):
        generation = decode(os.getxattr(path, HEADER_XATTR))
    with suppress(OSError):
        label = os.getxattr(path, PATH_XATTR)
    return generation, label


def _read_only(offset: int, entries: bytes) -> None:
    raise AssertionError("a survey changes nothing")
