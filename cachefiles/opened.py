"""The objects of one volume that are open, and how their files are found, made and let go.

A lock serialises everything that makes, removes or looks up names, so that a name always belongs
to the object in the table; ``folder.py`` does the same between processes. Data never moves under
either. Lock order: the volume's, the folder's, an object's.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from threading import Lock

from cachefiles.backing import Filesystem
from cachefiles.blocks import Blocks, Verify
from cachefiles.charge import Charge
from cachefiles.coherency import Record
from cachefiles.datafile import DataFile
from cachefiles.errors import CacheError, translated
from cachefiles.extents import Extent
from cachefiles.folder import Doomed, Folder, Stored
from cachefiles.generation import Generation, Numbers
from cachefiles.graveyard import Graveyard
from cachefiles.object import Object

Fits = Callable[[Record], bool]
"""Whether what is stored under a record may be used."""

Restamp = Callable[[Object, int, bytes, Sequence[Extent]], Object | None]
Finish = Callable[[Object, bytes, bytes], bool]


@dataclass(frozen=True, slots=True)
class Asked:
    """What an open asked for: the object, and the generation that it begins if none fits."""

    key: bytes
    path: str
    begins: Generation
    fits: Fits
    label: bytes


@dataclass(slots=True)
class Live:
    """An open object, how often it was opened, and what its files will carry."""

    object: Object
    asked: Asked
    pinned: bool
    users: int = 1


class OpenObjects:
    """The table of one volume. Owns ``folder`` (a fd).

    It owns the objects as they see it (``ObjectOwner``); ``restamp`` and ``finish`` are set by what
    does them. Safe to use from several threads.
    """

    restamp: Restamp
    finish: Finish

    def __init__(
        self, filesystem: Filesystem, key: bytes, folder: int, graveyard: Graveyard, verify: Verify
    ) -> None:
        self.key = key
        self.filesystem = filesystem
        self.folder = Folder(filesystem, folder, graveyard)
        self.space = graveyard.space
        self.numbers = Numbers()
        self.lock = Lock()
        self.left_unsynced = False
        """Whether what is on disk and not synced is of no open object."""
        self.closed = False
        self._verify = verify
        self._live: dict[str, Live] = {}

    @contextmanager
    def alone(self, doing: str) -> Iterator[None]:
        """No other thread or process makes, removes or looks up names of the volume. Raises
        ``CacheError``, which says what one was ``doing``."""
        with self.lock, translated(doing):
            self.require_open()
            with self.folder.alone():
                yield

    def require_open(self) -> None:
        """Raise ``CacheError`` once the volume is closed."""
        if self.closed:
            raise CacheError("the cache is closed")

    def all(self) -> list[Object]:
        """Those that are open. Call it locked, as what follows."""
        return [live.object for live in self._live.values()]

    def find(self, user: Object) -> Live | None:
        """Its entry, unless another has its place."""
        live = self._live.get(user.path)
        return None if live is None or live.object is not user else live

    def at(self, path: str) -> Live | None:
        """The entry at ``path``."""
        return self._live.get(path)

    def join(self, path: str, fits: Fits, doomed: Doomed) -> Object | None:
        """The object at ``path`` with one user more, if it is of this generation and not buried.
        Call it alone."""
        live = self._live.get(path)
        if live is None or live.object.retired or live.object.changing:
            return None
        if not fits(live.object.record):
            return None
        if not live.object.has_files:
            stored = self.folder.find(path, fits, doomed)
            if isinstance(stored, Stored):
                live.object.attach(self.blocks(live.asked.key, stored), stored.generation)
        elif live.object.buried:
            return None
        live.users += 1
        return live.object

    def take_out(self, path: str) -> Object | None:
        """End the generation of the object at ``path``, if one is open. Its files stay."""
        live = self._live.pop(path, None)
        if live is None:
            return None
        live.object.retire()
        return live.object

    def put(
        self,
        asked: Asked,
        generation: Generation,
        blocks: Blocks | None,
        *,
        pinned: bool,
        kind: type[Object] = Object,
    ) -> Object:
        """A new object in the table, with one user."""
        opened = kind(asked.path, generation, blocks, space=self.space, owner=self)
        self._live[asked.path] = Live(opened, asked, pinned)
        return opened

    def move(self, user: Object, to: Asked) -> None:
        """``to``: what its files carry from now on, and where they are."""
        live = self._live.pop(user.path)
        live.asked, user.path = to, to.path
        self._live[to.path] = live

    def blocks(self, key: bytes, stored: Stored, *, stamped: bool = True) -> Blocks:
        """The blocks of the object ``key``, which own the descriptors."""
        return Blocks(
            self.filesystem,
            DataFile(self.filesystem, stored.data),
            stored.map,
            seed=stored.generation.seed(self.key, key),
            size=stored.generation.record.size,
            verify=self._verify,
            stamped=stamped,
        )

    def make_files(self, user: Object) -> None:
        """Both files of an object that has none yet; nothing if it was retired meanwhile."""
        doomed = Doomed()
        if user.retired or user.has_files:
            return
        self.require_open()
        charge = Charge(self.space)
        try:
            with translated("making a cached file"):  # before the locks: this may wait for a disk
                if not charge.take():
                    return
            with self.lock, translated("making a cached file"):
                live = self.find(user)
                if user.retired or user.has_files or live is None:
                    return
                self.require_open()
                with self.folder.alone():
                    stored = self._find_or_make(live, doomed, charge)
                if stored is not None:
                    blocks = self.blocks(live.asked.key, stored, stamped=not user.changing)
                    user.attach(blocks, stored.generation)
        finally:
            charge.settle(doomed)
            self.folder.put_away(doomed)

    def _find_or_make(self, live: Live, doomed: Doomed, charge: Charge) -> Stored | None:
        """The files; None where the object's generation is over."""
        asked = live.asked
        stored = self.folder.find(asked.path, asked.fits, doomed, keep=not live.object.changing)
        if isinstance(stored, Stored):
            return stored
        if stored.kept:  # a newer generation was opened since
            self.take_out(asked.path)
            return None
        return self.make(asked, doomed, charge, pinned=live.pinned or stored.pinned)

    def make(self, asked: Asked, doomed: Doomed, charge: Charge, *, pinned: bool) -> Stored:
        """New files, already charged, where there are none. Call it alone. Raises ``OSError``."""
        made = self.folder.make(asked.path, asked.begins, asked.label, doomed, pinned=pinned)
        charge.spent = True
        return Stored(*made, asked.begins)

    def drop(self, user: Object) -> None:
        """As :meth:`Object.invalidate`."""
        doomed = Doomed()
        try:
            with self.lock, translated("dropping a cached file"):
                live = self.find(user)
                named = user.has_files and not user.buried
                user.retire()
                if live is None:
                    return
                del self._live[user.path]
                self.require_open()
                if named:
                    with self.folder.alone():
                        self.folder.bury(user.path, doomed)
        finally:
            self.folder.put_away(doomed)

    def release(self, user: Object) -> None:
        """As :meth:`Object.close`. What is being changed is of no use to others."""
        if user.changing:
            with suppress(CacheError):  # it stays, unfinished, until it is found
                self.drop(user)
        with self.lock:
            live = self.find(user)
            if live is None:
                return  # retired: its descriptors go, or went, with its last call
            live.users -= 1
            if live.users:
                return
            del self._live[user.path]
            self.left_unsynced |= user.changed
        user.shut()
