"""One volume (a share, say): a directory of objects, and the table of those that are open.

A lock serialises everything that makes, removes or looks up names, so that a name always belongs
to the object in the table; ``folder.py`` does the same between processes. Data never moves under
either. Lock order: the volume's, the folder's, an object's.

A restamp exchanges the record of files that stay, and the :class:`Object` with it: the old one is
retired, so that what was fetched under the old record cannot be stored under the new one.

Opening compares the record beside the backing file with what the caller knows of the file now.
No record, a damaged one, one of another format, another key, another size, or coherency bytes that
the caller's ``matches`` refuses: both files are buried and the object starts empty, with new
inodes. Nothing of the old files is used again, and a process that still writes to them writes into
a grave. The same object opened twice at once is one :class:`Object` with two users; if the second
open comes with a newer generation, the first is retired. Between processes there is no telling
which of two generations is the newer, but in one case: files that appeared since an object was
opened and found none are of a process that came later, and the older object is retired.
"""

from __future__ import annotations

import enum
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from threading import Lock

from cachefiles.backing import Filesystem
from cachefiles.blocks import Blocks, Verify
from cachefiles.charge import Charge
from cachefiles.coherency import Record
from cachefiles.datafile import DataFile
from cachefiles.errors import CacheError, translated
from cachefiles.extents import Extent
from cachefiles.folder import Doomed, Folder, Gone, Stored
from cachefiles.generation import Generation, Numbers, check, encode
from cachefiles.graveyard import Graveyard
from cachefiles.key import identity, object_path
from cachefiles.object import Object, ObjectOwner

_SYNCED_SINGLY = 16
"""Open objects; two calls each."""

Matches = Callable[[bytes], bool]
"""Whether data stored under these coherency bytes is still the file's content."""


class Found(enum.Enum):
    """What an open came upon."""

    NOTHING = "nothing"  # no backing file yet
    STORED = "stored"  # one of this generation
    REPLACED = "replaced"  # one of another generation or of no use, which is gone now


@dataclass(frozen=True, slots=True)
class _Asked:
    """What an open asked for: the object, and the generation that it begins if none fits."""

    key: bytes
    path: str
    begins: Generation
    fits: Callable[[Record], bool]
    label: bytes


@dataclass(slots=True)
class _Live:
    """An open object, how often it was opened, and what its files will carry."""

    object: Object
    asked: _Asked
    pinned: bool
    users: int = 1


class Volume:
    """Made by :meth:`cachefiles.cache.Cache.volume`, which closes it. Owns ``folder`` (a fd)."""

    def __init__(
        self, filesystem: Filesystem, key: bytes, folder: int, graveyard: Graveyard, verify: Verify
    ) -> None:
        self.key = key
        self._filesystem = filesystem
        self._folder = Folder(filesystem, folder, graveyard)
        self._space = graveyard.space
        self._verify = verify
        self._closed = False
        self._lock = Lock()
        self._live: dict[str, _Live] = {}
        self._numbers = Numbers()
        self._left_unsynced = False

    def open(
        self,
        key: bytes,
        size: int,
        coherency: bytes,
        matches: Matches | None = None,
        *,
        label: bytes = b"",
        making: bool = False,
    ) -> tuple[Object, Found]:
        """The object ``key`` in the generation (``size`` bytes, ``coherency``).

        ``matches`` decides whether stored coherency bytes stand for the same content; by default
        they must be equal. Where they match, the stored record stays as it is. ``label``: where the
        file is on its share, for listings. ``making``: the caller is about to store, so the files
        are made at once where none fit, under the locks of the look-up; without room for them the
        object is as it would be. Every call needs one ``Object.close``. Raises ``CacheError``; then
        nothing is open, and nothing stale used. ``ValueError``: the record would not fit, or the
        size is impossible.
        """
        record = Record(identity(self.key, key), size, coherency, key)
        check(record)
        path = object_path(key)

        def fits(known: Record) -> bool:
            if known.identity != record.identity or known.size != size:
                return False
            return known.coherency == coherency if matches is None else matches(known.coherency)

        charge = Charge(self._space)
        doomed = Doomed()
        try:
            if making:  # before the locks: this may wait for a disk
                with translated("making a cached file"):
                    charge.take()
            with self._lock, translated("opening a cached file"):
                self._require_open()
                asked = _Asked(key, path, self._numbers.begin(record), fits, label)
                with self._folder.alone():
                    joined = self._join(path, fits, doomed)
                    if joined is not None:
                        return joined, Found.STORED
                    old = self._live.pop(path, None)
                    if old is not None:
                        old.object.retire()
                    stored = self._folder.find(path, fits, doomed)
                    made = None
                    if isinstance(stored, Gone) and charge.taken:
                        made = self._make(asked, doomed, charge, pinned=stored.pinned)
                opened, found = self._add(asked, stored, made)
                return opened, found if old is None or found is Found.STORED else Found.REPLACED
        finally:
            charge.settle(doomed)
            self._folder.put_away(doomed)

    def holds(self, key: bytes) -> bool:
        """Whether there is an object ``key``, of whatever generation. One call. Raises
        ``CacheError``."""
        with translated("looking for a cached file"):
            return self._filesystem.exists(object_path(key), self._folder.fd)

    def touch(self, key: bytes) -> None:
        """Note that the object ``key``, if there is one, is used now. Never raises."""
        with suppress(OSError):
            self._filesystem.touch(object_path(key), self._folder.fd)

    def sync(self) -> None:
        """Have all that was stored up to here outlive a power loss. Raises ``CacheError``.

        A few open objects are synced one by one, which leaves the rest of the filesystem alone.
        Where others were closed meanwhile, or there are many, all of it is synced at once: one
        commit instead of hundreds.
        """
        with self._lock:
            if self._closed:
                return
            changed = [live.object for live in self._live.values() if live.object.changed]
            everything = self._left_unsynced or len(changed) > _SYNCED_SINGLY
            self._left_unsynced = False
        if not everything:
            for each in changed:
                each.sync()
            return
        for each in changed:
            each.forget_changes()
        with translated("syncing the cache"):
            self._filesystem.sync_all(self._folder.fd)

    def close(self) -> None:
        """For the cache: no new files any more. Open objects can still be read and closed."""
        with self._lock:
            if not self._closed:
                self._closed = True
                self._folder.close()

    def _require_open(self) -> None:
        if self._closed:
            raise CacheError("the cache is closed")

    def _join(self, path: str, fits: Callable[[Record], bool], doomed: Doomed) -> Object | None:
        """The open object with one user more, if it is of this generation and not buried."""
        live = self._live.get(path)
        if live is None or live.object.retired or not fits(live.object.record):
            return None
        if not live.object.has_files:
            stored = self._folder.find(path, fits, doomed)
            if isinstance(stored, Stored):
                live.object.attach(self._blocks(live.asked.key, stored), stored.generation)
        elif live.object.buried:
            return None
        live.users += 1
        return live.object

    def _add(
        self, asked: _Asked, stored: Stored | Gone, made: Stored | None
    ) -> tuple[Object, Found]:
        blocks, generation, pinned = None, asked.begins, False
        if isinstance(stored, Stored):
            found = Found.STORED
            blocks, generation = self._blocks(asked.key, stored), stored.generation
            self._folder.describe(stored.data, asked.label)
            self._folder.touch(stored.data)
        else:
            found = Found.REPLACED if stored.replaced else Found.NOTHING
            pinned = stored.pinned
            if made is not None:
                blocks = self._blocks(asked.key, made)
        return self._put(asked, generation, blocks, pinned=pinned), found

    def _put(
        self, asked: _Asked, generation: Generation, blocks: Blocks | None, *, pinned: bool
    ) -> Object:
        """A new object in the table, with one user."""
        owner = ObjectOwner(
            make_files=self._make_files,
            release=lambda user: self._release(asked.path, user),
            drop=lambda user: self._invalidate(asked.path, user),
            restamp=lambda user, *to: self._restamp(asked.path, user, *to),
        )
        opened = Object(generation, blocks, space=self._space, owner=owner)
        self._live[asked.path] = _Live(opened, asked, pinned)
        return opened

    def _restamp(
        self, path: str, user: Object, size: int, coherency: bytes, changed: Sequence[Extent]
    ) -> Object | None:
        """As :meth:`Object.restamp`. What it strikes is synced under the directory's lock, so that
        no other process can store in between what would be trusted under the new record."""
        known = user.generation
        record = Record(known.record.identity, size, coherency, known.record.readable)
        restamped = Generation(known.number, record)
        encode(restamped)
        doomed = Doomed()
        try:
            with self._lock, translated("restamping a cached file"), self._folder.alone():
                live = self._live.get(path)
                if live is None or live.object is not user or user.retired or user.buried:
                    return None
                blocks = user.hand_over(self._folder.take_alone)
                if blocks is None:
                    return None
                del self._live[path]
                try:
                    blocks.strike_for(size, changed)
                    self._folder.restamp(blocks.data.fd, restamped)
                except BaseException:
                    # Which record it has now is not known: the generation is over.
                    try:
                        self._folder.bury(path, doomed)
                    finally:
                        blocks.close()
                    raise
                self._left_unsynced |= user.changed
                asked = replace(live.asked, begins=restamped, fits=lambda found: found == record)
                return self._put(asked, restamped, blocks.renewed(size), pinned=live.pinned)
        finally:
            self._folder.put_away(doomed)

    def _blocks(self, key: bytes, stored: Stored) -> Blocks:
        data = DataFile(self._filesystem, stored.data)
        seed, size = stored.generation.seed(self.key, key), stored.generation.record.size
        return Blocks(self._filesystem, data, stored.map, seed=seed, size=size, verify=self._verify)

    def _make_files(self, user: Object) -> None:
        """Both files of an object that has none yet; nothing if it was retired meanwhile."""
        doomed = Doomed()
        if user.retired or user.has_files:
            return
        self._require_open()
        charge = Charge(self._space)
        try:
            with translated("making a cached file"):  # before the locks: this may wait for a disk
                if not charge.take():
                    return
            with self._lock, translated("making a cached file"):
                live = next((each for each in self._live.values() if each.object is user), None)
                if user.retired or user.has_files or live is None:
                    return
                self._require_open()
                with self._folder.alone():
                    stored = self._find_or_make(live, doomed, charge)
                if stored is not None:
                    user.attach(self._blocks(live.asked.key, stored), stored.generation)
        finally:
            charge.settle(doomed)
            self._folder.put_away(doomed)

    def _find_or_make(self, live: _Live, doomed: Doomed, charge: Charge) -> Stored | None:
        """The files; None where the object's generation is over."""
        asked = live.asked
        stored = self._folder.find(asked.path, asked.fits, doomed, keep=True)
        if isinstance(stored, Stored):
            return stored
        if stored.kept:  # a newer generation was opened since
            del self._live[asked.path]
            live.object.retire()
            return None
        return self._make(asked, doomed, charge, pinned=live.pinned or stored.pinned)

    def _make(self, asked: _Asked, doomed: Doomed, charge: Charge, *, pinned: bool) -> Stored:
        made = self._folder.make(asked.path, asked.begins, asked.label, doomed, pinned=pinned)
        charge.spent = True
        return Stored(*made, asked.begins)

    def _invalidate(self, path: str, user: Object) -> None:
        doomed = Doomed()
        try:
            with self._lock, translated("dropping a cached file"):
                live = self._live.get(path)
                named = user.has_files and not user.buried
                user.retire()
                if live is None or live.object is not user:
                    return
                del self._live[path]
                self._require_open()
                if named:
                    with self._folder.alone():
                        self._folder.bury(path, doomed)
        finally:
            self._folder.put_away(doomed)

    def _release(self, path: str, user: Object) -> None:
        with self._lock:
            live = self._live.get(path)
            if live is None or live.object is not user:
                return  # retired: its descriptors go, or went, with its last call
            live.users -= 1
            if live.users:
                return
            del self._live[path]
            self._left_unsynced |= user.changed
        user.shut()
