"""The watches of a mount: which directories the server tells us of.

A watch costs the server a handle and a request that stands, of which it allows so many (Samba 512 a
connection). So there are ``WATCHES_MAX``, for the directories used last; one that was used a
moment ago is not given up for another, or a walk through a large tree would do nothing else.
Directories without one are asked again when their lifetime is over.

Each watch has a task in the service nursery; it ends with the watch. A watch whose directory or
connection is gone ends itself, and the next listing of the directory begins another.

What a watch tells of our own changes is left out (``echoes.py``).
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager

import trio

from netfsfuse.errors import Disconnected, NetfsError, NotSupported
from netfsfuse.stats import VfsStats
from netfsfuse.tasks import ServiceNursery
from netfsfuse.types import Change, ChangeKind
from netfsfuse.vfs.coherency.echoes import Echoes
from netfsfuse.vfs.inodes.directory import Watched
from netfsfuse.vfs.inodes.inodes import Inode
from netfsfuse.vfs.ops import Namespace, Watch

log = logging.getLogger(__name__)

WATCHES_MAX = 256
KEPT = 10.0
"""Seconds after its last use in which a watch is not given up for another."""

REFUSED = 30.0
"""Seconds for which a directory that may not be watched is left alone: every open would ask."""

OnChanges = Callable[[Inode, Sequence[Change]], None]


class _Entry:
    __slots__ = ("echoes", "inode", "scope", "used", "watch", "watched")

    def __init__(
        self,
        inode: Inode,
        watch: Watch,
        now: float,
        echoes: Echoes,
        is_heard: Callable[[], bool],
    ) -> None:
        self.inode = inode
        self.watch = watch
        self.watched = Watched(now, inode.watched, is_heard)
        self.echoes = echoes
        self.scope = trio.CancelScope()
        self.used = now


class Watches:
    """Begins and ends them. ``on_changes`` hears of every change, on the loop, after it is
    believed."""

    def __init__(
        self,
        namespace: Namespace,
        nursery: ServiceNursery,
        stats: VfsStats,
        on_changes: OnChanges,
        *,
        most: int = WATCHES_MAX,
    ) -> None:
        self._namespace = namespace
        self._nursery = nursery
        self._stats = stats
        self._on_changes = on_changes
        self._most = most
        self._entries: dict[Inode, _Entry] = {}  # the one used longest ago first
        self._refused: dict[Inode, float] = {}  # until when
        self._echoes: dict[Inode, Echoes] = {}  # of directories that may be watched later, too
        namespace.reachability.on_doubt(self._doubt)

    def use(self, inode: Inode) -> None:
        """The directory is about to be asked for, or is used: watch it, if that can be had. What is
        asked of it from here on is believed as long as nothing is told. Sends at most one message
        and never waits."""
        now = trio.current_time()
        entry = self._entries.pop(inode, None)
        if entry is None:
            entry = self._begin(inode, now)
            if entry is None:
                return
        self._entries[inode] = entry
        entry.used = now

    def _begin(self, inode: Inode, now: float) -> _Entry | None:
        if self._most <= 0 or now < self._refused.get(inode, now):
            return None
        self._refused.pop(inode, None)
        if len(self._entries) >= self._most:
            oldest = next(iter(self._entries.values()))
            if now - oldest.used < KEPT:
                return None
            self._end(oldest)
        watch = self._namespace.watch(inode.path)
        if watch is None:
            return None
        echoes = self._echoes.setdefault(inode, Echoes())
        entry = _Entry(inode, watch, now, echoes, self._namespace.reachability.is_heard)
        inode.watched = entry.watched
        self._stats.watches += 1
        self._nursery.start_soon(self._follow, entry)
        return entry

    async def _follow(self, entry: _Entry) -> None:
        """Hear of changes until the watch ends; whatever ends it ends the trust in it."""
        heard = False
        try:
            with entry.scope:
                while True:
                    changes = await entry.watch.changes()
                    heard = True
                    self._stats.notifications += max(1, len(changes))
                    self._hear(entry, changes)
        except NotSupported as refused:
            log.info("the server tells of no changes: %s", refused)
            self._most = 0
        except NetfsError as failed:
            log.debug("watching %r: %s", entry.inode.path, failed)
            if heard or isinstance(failed, Disconnected):
                self._lost(entry)
            if not isinstance(failed, Disconnected):
                if len(self._refused) >= WATCHES_MAX:
                    self._refused.clear()
                self._refused[entry.inode] = trio.current_time() + REFUSED
        except Exception:
            self._lost(entry)
            raise
        finally:
            self._end(entry)

    def _hear(self, entry: _Entry, changes: Sequence[Change]) -> None:
        """Take in what other clients have changed; nothing stands for anything."""
        if not changes:
            self._take_in(entry, changes)
            return
        now = trio.current_time()
        others, doubtful = entry.echoes.sift(changes, now)
        self._stats.echoes += len(changes) - len(others)
        for name in doubtful:
            entry.watched.told_of_own(name, now)
        if others:
            self._take_in(entry, others)

    def _take_in(self, entry: _Entry, changes: Sequence[Change]) -> None:
        folder = entry.inode.folder
        now, is_as_told = trio.current_time(), self._namespace.is_surely_listed
        anything = entry.watched.told(changes, now, folder, is_as_told)
        if folder is not None:
            changed = {change.name for change in changes}
            names = [name for name in folder.links_of(changed) or () if name not in changed]
            changes = [*changes, *(Change(name, ChangeKind.MODIFIED) for name in names)]
        self._on_changes(entry.inode, changes)
        if anything and changes:
            self._on_changes(entry.inode, [])

    def _doubt(self) -> None:
        """Whatever was told so far, anything may have changed unannounced."""
        for entry in list(self._entries.values()):
            self._lost(entry)

    def _lost(self, entry: _Entry) -> None:
        """What happens until the directory is watched again is told by no watch."""
        entry.watched.told([], trio.current_time())
        self._on_changes(entry.inode, [])

    def _end(self, entry: _Entry) -> None:
        if entry.watched.lives:
            entry.watched.end()
            self._stats.watches -= 1
            entry.scope.cancel()
        if self._entries.get(entry.inode) is entry:
            del self._entries[entry.inode]
            entry.echoes.unwatched()
        entry.watch.close()

    @contextmanager
    def expect(
        self, directory: Inode, name: str, kinds: Iterable[ChangeKind], modified: float
    ) -> Iterator[None]:
        """Around a change of our own, from before it is sent until it is answered: what is told of
        it is not taken for another client's (:meth:`Echoes.expect`). Where it raises it was not
        done, or may have been: all that was and will be told is taken for another's."""
        echoes = self._echoes.setdefault(directory, Echoes())
        # Where no watch lives yet, one may tell of what is written later.
        expected = echoes.expect(name, kinds if directory in self._entries else (), modified)
        try:
            yield
        except BaseException:
            taken = echoes.refused(expected)
            if taken and (entry := self._entries.get(directory)) is not None:
                self._take_in(entry, taken)
            raise
        echoes.answered(expected, trio.current_time())
        if len(self._echoes) > 2 * WATCHES_MAX:
            self._drop_idle()

    def _drop_idle(self) -> None:
        now = trio.current_time()
        for directory in [each for each in self._echoes if each not in self._entries]:
            if self._echoes[directory].is_idle(now):
                del self._echoes[directory]

    def give_way(self, directory: Inode, name: str) -> None:
        """End the watches of what is at ``name`` and of all below it, before anything that is asked
        from here on: their handles would stand in the way of a rename or removal. They are begun
        anew when the directories are used."""
        for entry in list(self._entries.values()):
            if entry.inode.is_at(directory, name):
                self._end(entry)

    def forget(self, inode: Inode) -> None:
        """The kernel has forgotten the directory. What is under way in it keeps its own ``Echoes``;
        nothing else of it may stay here: one object among 1,000 inodes keeps their memory from
        going back to the system (200,000 dropped: 152 of 159 MiB stayed)."""
        self._refused.pop(inode, None)
        self._echoes.pop(inode, None)
        entry = self._entries.get(inode)
        if entry is not None:
            self._end(entry)

    def close(self) -> None:
        """End all. Waits for nothing."""
        self._most = 0
        for entry in list(self._entries.values()):
            self._end(entry)
