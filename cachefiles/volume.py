"""One volume (a share, say): a directory of objects, opened by their keys.

Opening compares the record beside the backing file with what the caller knows of the file now.
No record, a damaged one, one of another format, one that is unfinished (``changes.py``), another
key, another size, or coherency bytes that the caller's ``matches`` refuses: both files are buried
and the object starts empty, with new inodes. Nothing of the old files is used again, and a process
that still writes to them writes into a grave. The same object opened twice at once is one
:class:`Object` with two users; if the second open comes with a newer generation, the first is
retired. Between processes there is no telling which of two generations is the newer, but in one
case: files that appeared since an object was opened and found none are of a process that came
later, and the older object is retired.
"""

from __future__ import annotations

import enum
from collections.abc import Callable
from contextlib import suppress

from cachefiles.backing import Filesystem
from cachefiles.blocks import Verify
from cachefiles.changes import Changes
from cachefiles.changing import ChangingObject
from cachefiles.charge import Charge
from cachefiles.coherency import Record
from cachefiles.errors import translated
from cachefiles.folder import Doomed, Gone, Stored
from cachefiles.generation import check
from cachefiles.graveyard import Graveyard
from cachefiles.key import identity, object_path
from cachefiles.object import Object
from cachefiles.opened import Asked, OpenObjects

_SYNCED_SINGLY = 16
"""Open objects; two calls each."""

Matches = Callable[[bytes], bool]
"""Whether data stored under these coherency bytes is still the file's content."""


class Found(enum.Enum):
    """What an open came upon."""

    NOTHING = "nothing"  # no backing file yet
    STORED = "stored"  # one of this generation
    REPLACED = "replaced"  # one of another generation or of no use, which is gone now


class Volume:
    """Made by :meth:`cachefiles.cache.Cache.volume`, which closes it. Owns ``folder`` (a fd)."""

    def __init__(
        self, filesystem: Filesystem, key: bytes, folder: int, graveyard: Graveyard, verify: Verify
    ) -> None:
        self.key = key
        self._filesystem = filesystem
        self._opened = OpenObjects(filesystem, key, folder, graveyard, verify)
        self._folder = self._opened.folder
        self._changes = Changes(self._opened)
        self._opened.restamp, self._opened.finish = self._changes.restamp, self._changes.finish

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
        asked = self._ask(key, size, coherency, matches, label)
        opened = self._opened
        charge = Charge(opened.space)
        doomed = Doomed()
        try:
            if making:  # before the locks: this may wait for a disk
                with translated("making a cached file"):
                    charge.take()
            with opened.alone("opening a cached file"):
                joined = opened.join(asked.path, asked.fits, doomed)
                if joined is not None:
                    return joined, Found.STORED
                old = opened.take_out(asked.path)
                stored = self._folder.find(asked.path, asked.fits, doomed)
                made = None
                if isinstance(stored, Gone) and charge.taken:
                    made = opened.make(asked, doomed, charge, pinned=stored.pinned)
                file, found = self._add(asked, stored, made)
                return file, found if old is None or found is Found.STORED else Found.REPLACED
        finally:
            charge.settle(doomed)
            self._folder.put_away(doomed)

    def begin_changes(
        self,
        key: bytes,
        size: int,
        coherency: bytes,
        matches: Matches | None = None,
        *,
        label: bytes = b"",
        keep: bool = True,
    ) -> ChangingObject:
        """The object ``key`` for a caller that is about to change the file, which is as given.

        What is stored is kept where it fits, but not without ``keep``, not for a file of one block,
        and not where another process uses it. Objects that were open are retired. It is unfinished
        from now on, also after a loss of power, until :meth:`ChangingObject.finish`; closed before
        that, it is dropped. Without files there is nothing to be marked, and those made later are
        unfinished from the beginning. Raises as :meth:`open`; then nothing of it is found.
        """
        asked = self._ask(key, size, coherency, matches, label, unfinished=True)
        return self._changes.begin(asked, keep=keep)

    def restamp(
        self,
        key: bytes,
        size: int,
        matches: Matches,
        *,
        to_key: bytes,
        to_coherency: bytes,
        label: bytes = b"",
    ) -> bool:
        """The object ``key``, if what is stored fits, stands for another version of the file, which
        has the same content: found under ``to_key`` and ``to_coherency`` from now on. Objects that
        are open are retired. A crash leaves it as it was or as it shall be. ``label`` as of
        :meth:`open`; by default it stays. Whether there is one.
        Raises as :meth:`open`; then nothing of it is found."""
        if not self.holds(key):
            return False
        asked = self._ask(key, size, b"", matches, label, unfinished=True)
        renewed = self._changes.begin(asked, keep=True, mark=False)
        try:
            return renewed.has_files and renewed.finish(to_key, to_coherency)
        finally:
            renewed.close()

    def _ask(
        self,
        key: bytes,
        size: int,
        coherency: bytes,
        matches: Matches | None,
        label: bytes,
        *,
        unfinished: bool = False,
    ) -> Asked:
        record = Record(identity(self.key, key), size, coherency, key)
        check(record)

        def fits(known: Record) -> bool:
            if known.identity != record.identity or known.size != size:
                return False
            return known.coherency == coherency if matches is None else matches(known.coherency)

        with self._opened.lock:  # the numbers are one thread's at a time
            begins = self._opened.numbers.begin(record, unfinished=unfinished)
        return Asked(key, object_path(key), begins, fits, label)

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
        opened = self._opened
        with opened.lock:
            if opened.closed:
                return
            changed = [each for each in opened.all() if each.changed]
            everything = opened.left_unsynced or len(changed) > _SYNCED_SINGLY
            opened.left_unsynced = False
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
        with self._opened.lock:
            if not self._opened.closed:
                self._opened.closed = True
                self._folder.close()

    def _add(
        self, asked: Asked, stored: Stored | Gone, made: Stored | None
    ) -> tuple[Object, Found]:
        opened = self._opened
        blocks, generation, pinned = None, asked.begins, False
        if isinstance(stored, Stored):
            found = Found.STORED
            blocks, generation = opened.blocks(asked.key, stored), stored.generation
            self._folder.describe(stored.data, asked.label)
            self._folder.touch(stored.data)
        else:
            found = Found.REPLACED if stored.replaced else Found.NOTHING
            pinned = stored.pinned
            if made is not None:
                blocks = opened.blocks(asked.key, made)
        return opened.put(asked, generation, blocks, pinned=pinned), found
