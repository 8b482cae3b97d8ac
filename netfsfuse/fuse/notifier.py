"""Telling the kernel what others have changed, so that it asks again before its time is over.

On the loop changes are only noted (:meth:`Notifier.changed`); tasks tell the kernel:

- Attributes first, for everything at once: the kernel never waits for these. It then asks for them
  at the next ``stat`` or open, and drops a file's pages itself when they show a change.
  Those of an inode that an open has just renewed, and all pages, are told a moment later
  (``postponed.py``).
- Names, in a :class:`~netfsfuse.fuse.lane.Lane` by directory: the kernel takes its lock, which a
  look-up in it holds until we answer.
- Pages, in a lane by file: the kernel waits for reads that are under way.

Names and pages are told in threads.

Where anything may have changed in a directory, or what leads to a changed name is not known, all
inodes are looked through for what lies in it (*swept*), in steps, and not too often where there are
many. A name's own entry is dropped only if it came or went: a process whose working directory's
entry is dropped has lost it. That an entry leads elsewhere by now is found out when its attributes
are asked for.
"""

from __future__ import annotations

import errno
import logging
from collections.abc import Sequence
from functools import partial
from typing import NamedTuple

import pyfuse3
import trio

from netfsfuse.fuse.absent import Absent
from netfsfuse.fuse.attrs import encode_name
from netfsfuse.fuse.lane import Lane, in_thread
from netfsfuse.fuse.postponed import Postponed
from netfsfuse.types import Change, FileKind
from netfsfuse.vfs.inodes.inodes import Inode, InodeTable
from netfsfuse.vfs.inodes.listed import NotKnown, inode_listed_as

log = logging.getLogger(__name__)

PENDING_MAX = 4096
"""Names; when there are more, their directories count as changed in all that they hold."""

BATCH = 256
ON_THE_LOOP = 16
"""Inodes whose attributes are told without a thread: a hop there and back takes 115 us, and an open
that comes meanwhile would be told of too late."""

SWEEP_STEP = 2000
"""Inodes looked at in one step of the loop: 1 ms."""

SWEEP_PAUSE = 0.1
SWEEP_PAUSE_EACH = 2e-6
"""Seconds between two sweeps, and more for each inode: a fifth of the loop's time at most."""

_STOP_SECONDS = 2.0
_DROP_SECONDS = 1.0
_UNKNOWN = (errno.ENOENT, errno.ENOTCONN)


class _Sweep:
    """What to look for among all inodes: all in ``directories``, and some ``names``."""

    def __init__(self) -> None:
        self.directories: set[Inode] = set()
        self.names: set[tuple[Inode, str]] = set()
        self.parents: set[Inode] = set()  # of the names


class _Found(NamedTuple):
    """What to tell of one inode. ``entry``: drop the name that leads to it as well."""

    number: int
    pages: bool = False
    entry: tuple[int, bytes] | None = None


class Notifier:
    """Tells the kernel what others have changed. ``changed`` and ``drop_entry`` make it the file
    system's ``Kernel``; ``absent`` is asked for each name that is not there."""

    def __init__(self, inodes: InodeTable) -> None:
        self._inodes = inodes
        self._pending: dict[tuple[Inode, str], bool] = {}
        self._sweep = _Sweep()
        self._absent = Absent()
        self._postponed = Postponed()
        self._waiting: dict[tuple[int, bytes], trio.Event] = {}
        self._news = trio.Event()
        self._sweeping = trio.Event()
        self._putting_off = trio.Event()
        self._names: Lane[bytes] = Lane(_drop_entries, self._wake)
        self._pages: Lane[None] = Lane(_drop_pages)
        self._scope: trio.CancelScope | None = None
        self._stopped = False
        self._ended: trio.Event | None = None

    def changed(self, directory: Inode, changes: Sequence[Change]) -> None:
        """Note what has happened in a directory; nothing stands for anything. Never waits."""
        if not changes:
            self._look_for(directory)
        for change in changes:
            key = (directory, change.name)
            if len(self._pending) < PENDING_MAX or key in self._pending:
                self._pending[key] = self._pending.get(key, False) or change.names
            else:
                self._look_for(directory)
        self._news.set()

    def _look_for(self, directory: Inode, name: str | None = None) -> None:
        """Have it swept for all that is in ``directory``, or for ``name`` in it."""
        if name is None or len(self._sweep.names) >= PENDING_MAX:
            self._sweep.directories.add(directory)
        else:
            self._sweep.names.add((directory, name))
            self._sweep.parents.add(directory)
        self._sweeping.set()

    def absent(self, directory: int, name: bytes, lifetime: float) -> float:
        """The kernel is told that ``name`` is not there; for how many seconds it may believe it."""
        return self._absent.told(directory, name, lifetime, trio.current_time())

    def own_change(self, directory: Inode, name: str) -> None:
        """A call of the kernel has made ``name`` in a directory, or removed it: it knows that. Only
        other spellings that it was told are not there it does not know to be the same."""
        own = encode_name(name)
        for spelt in self._absent.spellings(directory.number, name):
            if spelt != own:
                self._names.put(directory.number, spelt)

    def renewed(self, number: int) -> None:
        """An open has made the kernel ask for the attributes of this inode again, and is about to
        make it drop the pages: earlier news of it is dropped, what comes now is put off."""
        self._pages.discard(number)
        self._postponed.renewed(number, trio.current_time())

    async def drop_entry(self, directory: Inode, name: str) -> None:
        """Returns when the kernel has dropped the name, after a second at most. A handler may wait
        for it that the kernel does not call under a lock on the directory, such as open."""
        key = (directory.number, encode_name(name))
        if not self._names.put(*key):
            return
        waited = self._waiting.setdefault(key, trio.Event())
        with trio.move_on_after(_DROP_SECONDS):
            await waited.wait()

    async def run(self) -> None:
        """Tell the kernel, until :meth:`stop`. A task; it may be run again if it failed."""
        if self._stopped:
            return
        self._ended = trio.Event()
        try:
            with trio.CancelScope() as self._scope:
                async with trio.open_nursery() as nursery:
                    nursery.start_soon(self._names.run)
                    nursery.start_soon(self._pages.run)
                    nursery.start_soon(self._sweep_often)
                    nursery.start_soon(self._tell_postponed)
                    await self._tell_often()
        finally:
            self._ended.set()

    async def stop(self) -> None:
        """No call into the kernel is under way afterwards, unless one hangs."""
        self._stopped = True
        if self._scope is not None:
            self._scope.cancel()
        if self._ended is not None:
            with trio.move_on_after(_STOP_SECONDS, shield=True):
                await self._ended.wait()

    async def _tell_often(self) -> None:
        while True:
            await self._news.wait()
            self._news = trio.Event()
            while self._pending:
                await self._tell(self._take(list(self._pending)[:BATCH]))

    async def _sweep_often(self) -> None:
        while True:
            await self._sweeping.wait()
            sweep, self._sweep, self._sweeping = self._sweep, _Sweep(), trio.Event()
            await self._look_through(sweep)
            await trio.sleep(SWEEP_PAUSE + SWEEP_PAUSE_EACH * len(self._inodes))

    async def _tell_postponed(self) -> None:
        while True:
            if (due := self._postponed.next_due) is None:
                self._putting_off = trio.Event()
                await self._putting_off.wait()
            else:
                await trio.sleep_until(due)
                taken = self._postponed.take(trio.current_time())
                for each in taken:
                    if each.pages:
                        self._pages.put(each.number, None)
                await self._tell_attributes([each.number for each in taken if each.attributes])

    async def _look_through(self, sweep: _Sweep) -> None:
        directories = [each.number for each in sweep.directories]
        for number, name in self._absent.take(directories):
            self._names.put(number, name)
        await self._tell([_Found(number) for number in directories])
        for step in self._inodes.numbers(SWEEP_STEP):
            found = [each for number in step if (each := self._find(number, sweep)) is not None]
            if found:
                await self._tell(found)
            else:
                await trio.lowlevel.checkpoint()

    def _find(self, number: int, sweep: _Sweep) -> _Found | None:
        parent = self._inodes.parent_of(number)
        if parent is None:
            return None
        named = parent in sweep.parents and (parent, self._inodes.name_of(number)) in sweep.names
        if not named and parent not in sweep.directories:
            return None
        inode = self._inodes.in_use(number)
        return _Found(number) if inode is None else _found(inode)

    def _take(self, keys: Sequence[tuple[Inode, str]]) -> list[_Found]:
        found = []
        for key in keys:
            directory, name = key
            names = self._pending.pop(key)
            if self._inodes.find(directory.number) is not directory:
                continue
            if names:
                found.append(_Found(directory.number, entry=(directory.number, encode_name(name))))
                for spelt in self._absent.spellings(directory.number, name):
                    self._names.put(directory.number, spelt)
            known = inode_listed_as(self._inodes, directory, name)
            if isinstance(known, Inode):
                found.append(_found(known))
            elif known is NotKnown.OTHER_NUMBER or (known is NotKnown.UNLISTED and not names):
                self._look_for(directory, name)  # of a name that came or went the entry is dropped
        return found

    async def _tell(self, found: Sequence[_Found]) -> None:
        """Attributes now, if no open has renewed them just now, and all else in its turn."""
        now = trio.current_time()
        numbers = {each.number: None for each in found}
        for each in found:
            if each.entry is not None:
                self._names.put(*each.entry)
            fresh = self._postponed.is_fresh(each.number, now)
            if not fresh and not each.pages:
                continue
            if self._postponed.put(each.number, now, attributes=fresh, pages=each.pages):
                if fresh:
                    numbers.pop(each.number, None)
            elif each.pages:
                self._pages.put(each.number, None)
        self._putting_off.set()
        await self._tell_attributes(list(numbers))

    async def _tell_attributes(self, numbers: Sequence[int]) -> None:
        """Few at once: no open comes between the look at what was renewed and this."""
        for start in range(0, len(numbers), BATCH):
            some = numbers[start : start + BATCH]
            if len(some) <= ON_THE_LOOP:
                _drop_attributes(some)
            else:
                await in_thread(partial(_drop_attributes, some))
        await trio.lowlevel.checkpoint()

    def _wake(self, directory: int, names: Sequence[bytes]) -> None:
        for name in names:
            key = (directory, name)
            if key in self._waiting and not self._names.holds(*key):
                self._waiting.pop(key).set()


def _found(inode: Inode) -> _Found:
    parent = inode.parent
    entry = None
    if parent is not None and inode.kind is FileKind.SYMLINK:
        # The kernel follows it without asking for its attributes.
        entry = (parent.number, encode_name(inode.name))
    return _Found(inode.number, inode.pages is not None, entry)


def _drop_attributes(numbers: Sequence[int]) -> None:
    for number in numbers:
        _quietly(partial(pyfuse3.invalidate_inode, pyfuse3.InodeT(number), attr_only=True))


def _drop_entries(directory: int, names: Sequence[bytes]) -> None:
    for name in names:
        _quietly(partial(pyfuse3.invalidate_entry, pyfuse3.InodeT(directory), name))


def _drop_pages(number: int, _once: Sequence[None]) -> None:
    _quietly(partial(pyfuse3.invalidate_inode, pyfuse3.InodeT(number), attr_only=False))


def _quietly(call: partial[None]) -> None:
    """Calls for names and pages may wait for the kernel; none holds the interpreter."""
    try:
        call()
    except OSError as failed:
        if failed.errno not in _UNKNOWN:
            log.debug("telling the kernel of a change: %s", failed)
