"""All that changes below a directory, from as many watches as that takes.

A server's watch of a whole tree tells what its SMB clients do there; of what is done on the
server's own disk Samba hears by inotify, in the watched directory alone. So each directory of the
tree gets a watch of its own, ``most`` at most, new ones as they appear; the tree's watch speaks for
the others.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import trio

from netfsfuse.errors import Disconnected, NetfsError, NotADirectory, NotFound
from netfsfuse.types import Change, ChangeKind
from netfsfuse.vfs.ops import Namespace, Watch

_APPEARS = (ChangeKind.CREATED, ChangeKind.RENAMED_TO)


class TreeWatch:
    """Watches below ``top``, while :meth:`run` runs. ``told`` hears of changes, their names being
    paths below ``top``; no changes means that some were too many to tell."""

    def __init__(
        self,
        namespace: Namespace,
        top: str,
        told: Callable[[Sequence[Change]], None],
        *,
        most: int,
    ) -> None:
        self._namespace = namespace
        self._top = top
        self._told = told
        self._most = most
        self._own: dict[str, Watch] = {}
        self._failure: NetfsError | None = None

    async def run(self, begun: Callable[[], None]) -> None:
        """Watch, until cancelled. ``begun`` is called when all is watched. Raises NetfsError when
        the top cannot be watched any more."""
        try:
            async with trio.open_nursery() as nursery:
                nursery.start_soon(self._follow_tree, nursery)
                await self._add("", nursery)
                begun()
                await trio.sleep_forever()
        finally:
            for watch in self._own.values():
                watch.close()
            self._own.clear()
            if self._failure is not None:
                raise self._failure

    async def _follow_tree(self, nursery: trio.Nursery) -> None:
        watch = self._namespace.watch(self._top, tree=True)
        try:
            if watch is None:
                await self._namespace.stat(self._top)  # it connects again, if that is what it takes
                raise Disconnected("no watch is to be had now")
            try:
                while True:
                    await self._tell_tree(await watch.changes(), nursery)
            finally:
                watch.close()
        except NetfsError as failed:
            self._failure = failed
            nursery.cancel_scope.cancel()

    async def _tell_tree(self, changes: Sequence[Change], nursery: trio.Nursery) -> None:
        """What no watch of its own directory tells."""
        news = [change for change in changes if _parent(change.name) not in self._own]
        if news or not changes:
            self._told(news)
        await self._follow_new(news, nursery)

    async def _follow_new(self, changes: Sequence[Change], nursery: trio.Nursery) -> None:
        for name, kind in changes:
            if kind in _APPEARS and len(self._own) < self._most:
                await self._add(name, nursery, new=True)

    def _path(self, below: str) -> str:
        return "/".join(filter(None, (self._top, below)))

    async def _add(self, below: str, nursery: trio.Nursery, *, new: bool = False) -> None:
        """Watch a directory and those in it. What is in a ``new`` one may have been made before it
        was watched, and is told of now."""
        waiting = [below]
        while waiting:
            below = waiting.pop(0)
            if below in self._own or len(self._own) >= self._most:
                continue
            try:
                if new and not (await self._namespace.stat(self._path(below))).is_directory:
                    continue
                inside = await self._begin(below, nursery)
            except (NotFound, NotADirectory):
                continue
            except NetfsError as failed:
                if not below:
                    self._failure = failed
                    nursery.cancel_scope.cancel()
                continue
            waiting += [name for name, is_directory in inside if is_directory]
            if new and inside:
                self._told([Change(name, ChangeKind.CREATED) for name, _ in inside])

    async def _begin(self, below: str, nursery: trio.Nursery) -> list[tuple[str, bool]]:
        """Returns what is in it, and which of that are directories."""
        watch = self._namespace.watch(self._path(below))
        if watch is None:
            return []
        self._own[below] = watch
        nursery.start_soon(self._follow, below, watch, nursery)
        await watch.begun()
        inside = []
        listing = await self._namespace.list(self._path(below))
        try:
            while page := await listing.next_page():
                inside += [("/".join(filter(None, (below, e.name))), e) for e in page]
        finally:
            await listing.aclose()
        return [(name, entry.attr.is_directory) for name, entry in inside]

    async def _follow(self, below: str, watch: Watch, nursery: trio.Nursery) -> None:
        """One directory's own. Its end is no failure: it may be gone."""
        try:
            while True:
                found = [
                    Change("/".join(filter(None, (below, name))), kind)
                    for name, kind in await watch.changes()
                ]
                self._told(found)
                await self._follow_new(found, nursery)
        except NetfsError:
            pass
        finally:
            watch.close()
            if self._own.get(below) is watch:
                del self._own[below]


def _parent(path: str) -> str:
    return path.rpartition("/")[0]
