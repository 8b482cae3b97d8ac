"""One volume (a share, say): a directory of objects, and the table of those that are open.

A lock serialises everything that makes, removes or looks up names, so that a name always belongs
to the object in the table. Data never moves under it. Lock order: the volume's before an object's.

Opening compares the record beside the backing file with what the caller knows of the file now.
No record, a damaged one, one of another format, another key, another size, or coherency bytes that
the caller's ``matches`` refuses: both files are unlinked and the object starts empty, with new
inodes. Nothing of the old files is used again, and whoever still writes to them writes to inodes
without names. The same object opened twice at once is one :class:`Object` with two users; if the
second open comes with a newer generation, the first is retired.
"""

from __future__ import annotations

import enum
import errno
from collections.abc import Callable
from dataclasses import dataclass
from threading import Lock

from cachefiles import coherency as record_format
from cachefiles.backing import Filesystem
from cachefiles.coherency import RECORD_XATTR, Record
from cachefiles.contentmap import seed_of
from cachefiles.datafile import DataFile
from cachefiles.errors import CacheError, translated
from cachefiles.key import MAP_SUFFIX, identity, object_path
from cachefiles.object import Files, Object

Matches = Callable[[bytes], bool]
"""Whether data stored under these coherency bytes is still the file's content."""

_NO_FILE_OF_OURS = frozenset({errno.ELOOP, errno.ENXIO, errno.EACCES})
"""Opening met a symlink, a socket, or a file that we never made with this mode."""


class Found(enum.Enum):
    """What an open came upon."""

    NOTHING = "nothing"  # no backing file yet
    STORED = "stored"  # one of this generation
    REPLACED = "replaced"  # one of another generation or of no use, which is gone now


@dataclass(slots=True)
class _Live:
    """An open object, how often it was opened, and the record its files carry or will carry."""

    object: Object
    users: int
    raw: bytes


@dataclass(slots=True)
class _Stored:
    """Usable files with their record, as found on disk."""

    files: Files
    raw: bytes
    record: Record


class Volume:
    """Made by :meth:`cachefiles.cache.Cache.volume`, which closes it."""

    def __init__(self, filesystem: Filesystem, key: bytes, folder: int) -> None:
        self.key = key
        self._filesystem = filesystem
        self._folder = folder
        self._closed = False
        self._lock = Lock()
        self._live: dict[str, _Live] = {}

    def open(
        self, key: bytes, size: int, coherency: bytes, matches: Matches | None = None
    ) -> tuple[Object, Found]:
        """The object ``key`` in the generation (``size`` bytes, ``coherency``).

        ``matches`` decides whether stored coherency bytes stand for the same content; by default
        they must be equal. Where they match, the stored record stays as it is. Every call needs
        one ``Object.close``. Raises ``CacheError``; then nothing is open, and nothing stale used.
        ``ValueError``: the record would not fit, or the size is impossible.
        """
        record = Record(identity(self.key, key), size, coherency, key)
        raw = record_format.encode(record)
        path = object_path(key)

        def fits(known: Record) -> bool:
            if known.identity != record.identity or known.size != size:
                return False
            return known.coherency == coherency if matches is None else matches(known.coherency)

        doomed: list[int] = []
        try:
            with self._lock, translated("opening a cached file"):
                self._require_open()
                live = self._live.get(path)
                if live is not None and fits(live.object.record):
                    live.users += 1
                    return live.object, Found.STORED
                if live is not None:
                    self._bury(path, live.object)
                    return self._add(path, key, record, raw, None), Found.REPLACED
                stored = self._open_stored(path, fits, doomed)
                if isinstance(stored, Found):
                    return self._add(path, key, record, raw, None), stored
                opened = self._add(path, key, stored.record, stored.raw, stored.files)
                return opened, Found.STORED
        finally:
            # Closing frees the blocks of what was unlinked, which takes long for a large file.
            for fd in doomed:
                self._filesystem.close(fd)

    def close(self) -> None:
        """For the cache: no new files any more. Open objects can still be read and closed."""
        with self._lock:
            if not self._closed:
                self._closed = True
                self._filesystem.close(self._folder)

    def _require_open(self) -> None:
        if self._closed:
            raise CacheError("the cache is closed")

    def _add(
        self, path: str, key: bytes, record: Record, raw: bytes, files: Files | None
    ) -> Object:
        opened = Object(
            self._filesystem,
            record,
            seed_of(self.key, key, raw),
            files,
            make_files=lambda user: self._make_files(path, user),
            release=lambda user: self._release(path, user),
            drop=lambda user: self._invalidate(path, user),
        )
        self._live[path] = _Live(opened, 1, raw)
        return opened

    def _open_stored(
        self, path: str, fits: Callable[[Record], bool], doomed: list[int]
    ) -> _Stored | Found:
        """What is on disk if it fits; otherwise it is unlinked, descriptors go to ``doomed``."""
        opened: list[int] = []
        try:
            opened.append(self._filesystem.open(path, self._folder))
            raw = self._filesystem.get_xattr(opened[0], RECORD_XATTR)
            record = None if raw is None else record_format.decode(raw)
            if raw is not None and record is not None and fits(record):
                map_path = path + MAP_SUFFIX
                opened.append(self._filesystem.create(map_path, self._folder, exclusive=False))
                files = self._files(opened[0], opened[1], fresh=False)
                opened.clear()
                return _Stored(files, raw, record)
        except FileNotFoundError:
            return Found.NOTHING
        except OSError as error:
            if error.errno not in _NO_FILE_OF_OURS:
                raise
        finally:
            doomed += opened
        self._unlink(path)
        return Found.REPLACED

    def _make_files(self, path: str, user: Object) -> None:
        """Both files of an object that has none yet; nothing if it was retired meanwhile."""
        with self._lock, translated("making a cached file"):
            live = self._live.get(path)
            if user.retired or user.has_files or live is None or live.object is not user:
                return
            self._require_open()
            made: list[int] = []
            try:
                made.append(self._create(path))
                self._filesystem.set_xattr(made[0], RECORD_XATTR, live.raw)
                made.append(self._create(path + MAP_SUFFIX))
            except BaseException:
                for fd in made:
                    self._filesystem.close(fd)
                if made:
                    self._unlink(path)
                raise
            user.attach(self._files(made[0], made[1], fresh=True))

    def _files(self, data: int, entries: int, *, fresh: bool) -> Files:
        return Files(DataFile(self._filesystem, data), entries, fresh=fresh)

    def _create(self, path: str) -> int:
        try:
            return self._filesystem.create(path, self._folder)
        except FileNotFoundError:
            self._filesystem.make_folder(path.partition("/")[0], self._folder)
        except FileExistsError:
            # Left by a crash between the two unlinks or the two creations.
            self._filesystem.unlink(path, self._folder)
        return self._filesystem.create(path, self._folder)

    def _unlink(self, path: str) -> None:
        # The backing file first: a map alone claims nothing, its seed fits no other generation.
        self._filesystem.unlink(path, self._folder)
        self._filesystem.unlink(path + MAP_SUFFIX, self._folder)

    def _bury(self, path: str, old: Object) -> None:
        """Retire ``old``, take it from the table and remove its names. Caller holds the lock."""
        del self._live[path]
        old.retire()
        self._unlink(path)

    def _invalidate(self, path: str, user: Object) -> None:
        with self._lock, translated("dropping a cached file"):
            live = self._live.get(path)
            if live is None or live.object is not user:
                user.retire()
                return
            self._require_open()
            self._bury(path, user)

    def _release(self, path: str, user: Object) -> None:
        with self._lock:
            live = self._live.get(path)
            if live is None or live.object is not user:
                return  # retired: its descriptors go, or went, with its last call
            live.users -= 1
            if live.users:
                return
            del self._live[path]
        user.shut()
