"""What will be asked for next is fetched before it is: listings of the next directories, and the
next small files, each in one round trip, many at a time.

A reader that uses the names of a directory in order (``order.py``) is foreseen: files within the
directory and on into the directories behind it, directories below the one just opened and behind
it. How many are on their way is the window: it grows by a quarter and one when the reader comes
upon a fetch that is still on its way, and halves when fetches are dropped unused.

What was fetched is given out only while a watch on its directory says that nothing has happened
since; without one nothing is fetched, since an open must see what another client has written. It is
dropped when it was not used for a while, or when there is too much of it.

Files that are in the disk cache are brought from there, many in one hop to a thread; those that
were opened before cost no message at all then, others one compound without the READ.

The fetching tasks run in the service nursery. A fetch that fails is forgotten: the open that wants
the file asks for himself and is told.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import trio

from netfsfuse.errors import NetfsError
from netfsfuse.stats import VfsStats
from netfsfuse.tasks import ServiceNursery
from netfsfuse.types import FileAttr, coherency_of, same_content
from netfsfuse.vfs.coherency.judge import Judge
from netfsfuse.vfs.contents import CacheOps
from netfsfuse.vfs.inodes.directory import Folder
from netfsfuse.vfs.inodes.identity import inode_number
from netfsfuse.vfs.inodes.inodes import Inode, InodeTable
from netfsfuse.vfs.ops import SMALL, Namespace
from netfsfuse.vfs.prefetch.fetch import Fetch
from netfsfuse.vfs.prefetch.order import Walk
from netfsfuse.vfs.tree.listings import Listings

WINDOW_MIN, WINDOW_MAX = 4, 64
"""Fetches on their way or waiting to be used, at least and at most. 64 small files are 4 MiB at
most, and at 10 ms round trip 6,400 files a second."""

LISTINGS_MAX = 32
HELD = 5.0
"""Seconds for which a fetched file waits for its reader."""

_DEPTH = 4
"""Directories looked into for the next files."""


class Ahead:
    """Fetches ahead of readers, as the module says. Where nothing is watched it fetches nothing."""

    def __init__(
        self,
        namespace: Namespace,
        inodes: InodeTable,
        listings: Listings,
        cache: CacheOps,
        judge: Judge,
        nursery: ServiceNursery,
        stats: VfsStats,
    ) -> None:
        self._namespace = namespace
        self._inodes = inodes
        self._listings = listings
        self._cache = cache
        self._judge = judge
        self._nursery = nursery
        self._stats = stats
        self._most = WINDOW_MAX if judge.watches else 0
        self._window = float(min(WINDOW_MIN, self._most))
        self._fetches: dict[tuple[int, str], Fetch] = {}  # the one begun longest ago first
        self._walks: dict[tuple[Folder, bool], Walk] = {}
        self._sorting: dict[bool, int | None] = {False: None, True: None}
        self._unwanted = 0, 0  # in that directory so many opens need no look
        self._listing = 0
        self._closed = False

    # -- directories --------------------------------------------------------------------------

    def use_directory(self, inode: Inode) -> None:
        """A reader opens the directory."""
        parent = inode.parent
        if self._most <= 0 or parent is None or parent.folder is None:
            return
        if self._use(parent, inode.name, directories=True) is None:
            return
        wanted = min(int(self._window), LISTINGS_MAX)
        for following in self._next_directories(inode):
            if not wanted:
                return
            wanted -= 1
            if self._listings.believed(following) is None and self._listing < LISTINGS_MAX:
                self._listing += 1
                self._stats.fetched += 1
                self._nursery.start_soon(self._list, following)

    async def _list(self, inode: Inode) -> None:
        try:
            await self._listings.fill(inode)
        finally:
            self._listing -= 1

    def list(self, directory: Inode) -> None:
        """Watch and list a directory in which names are made, if that can be had now."""
        if self._most > 0 and self._listing < LISTINGS_MAX:
            self._listing += 1
            self._nursery.start_soon(self._list, directory)

    def _next_directories(self, inode: Inode) -> Iterator[Inode]:
        """Those below ``inode``, then those behind it, then behind its parent: as a walk in depth
        goes."""
        if inode.folder is not None:
            walk = Walk(_of_kind(inode.folder, directories=True), self._sorting[True])
            yield from self._known(inode, walk.following())
        here: Inode | None = inode
        while here is not None and (parent := here.parent) is not None:
            if parent.folder is None:
                return
            walk_on = self._walks.get((parent.folder, True))
            if walk_on is None:
                return
            yield from self._known(parent, walk_on.following())
            here = parent

    def _known(self, parent: Inode, names: Iterator[str]) -> Iterator[Inode]:
        """The inodes of ``names``, as far as the kernel has been told of them."""
        folder = parent.folder
        for name in names:
            attr = folder.attrs.get(name) if folder is not None else None
            if attr is None or not attr.file_id:
                continue
            inode = self._inodes.find(inode_number(attr, ""))
            if inode is not None and inode.parent is parent and inode.attr.is_directory:
                yield inode

    # -- files --------------------------------------------------------------------------------

    def use_file(self, inode: Inode) -> None:
        """A reader opens the file: have the next ones on their way."""
        parent = inode.parent
        if self._most <= 0 or parent is None or parent.folder is None:
            return
        if self._use(parent, inode.name, directories=False) is not None:
            self._fetch_on(parent, inode.name)

    def _use(self, parent: Inode, name: str, *, directories: bool) -> int | None:
        """Note the use; returns the sorting that foresees what comes next, if one does."""
        folder = parent.folder
        assert folder is not None
        walk = self._walks.get((folder, directories))
        if walk is None:
            walk = self._begin(folder, directories=directories)
        walk.use(name)
        best = walk.best
        if best is not None:
            self._sorting[directories] = best
        return best

    def _begin(self, folder: Folder, *, directories: bool) -> Walk:
        while len(self._walks) > _WALKS_MAX:
            del self._walks[next(iter(self._walks))]
        attrs = _of_kind(folder, directories=directories)
        sorting = None if directories else self._sorting[False]
        walk = self._walks[folder, directories] = Walk(attrs, sorting)
        return walk

    def _fetch_on(self, parent: Inode, name: str) -> None:
        """Fill the window up, once half of it is used, or if it holds nothing for this reader: then
        it may be that nothing was wanted, and half of what was looked at is not looked at again."""
        self._drop_old()
        holds = (parent.number, name) in self._fetches
        if holds and len(self._fetches) > self._window / 2:
            return
        looked_at, unwanted = self._unwanted
        if not holds and looked_at == parent.number and unwanted:
            self._unwanted = looked_at, unwanted - 1
            return
        batch = []
        wanted = int(self._window)
        seen = 0
        for directory, following, attr in self._next_files(parent):
            if not wanted:
                break
            wanted -= 1
            seen += 1
            key = (directory.number, following)
            if key not in self._fetches and self._is_wanted(directory, following, attr):
                folder = directory.folder
                assert folder is not None
                fetch = self._fetches[key] = Fetch(directory, following, attr, folder.asked)
                batch.append(fetch)
        self._unwanted = parent.number, 0 if batch else seen // 2
        if batch:
            self._stats.fetched += len(batch)
            self._nursery.start_soon(self._bring, batch)

    def _next_files(self, parent: Inode) -> Iterator[tuple[Inode, str, FileAttr]]:
        """The files behind the one used last, then those of the directories behind ``parent``."""
        yield from self._files_of(parent)
        if self._sorting[True] is None:
            return
        for depth, directory in enumerate(self._next_directories(parent)):
            if depth >= _DEPTH:
                return
            if directory.folder is not None:
                yield from self._files_of(directory)

    def _files_of(self, directory: Inode) -> Iterator[tuple[Inode, str, FileAttr]]:
        folder = directory.folder
        if folder is None:
            return
        if not self._judge.fetched(directory, None, folder.asked):
            return
        walk = self._walks.get((folder, False)) or self._begin(folder, directories=False)
        for name in walk.following():
            attr = folder.attrs.get(name)
            if attr is None or attr.size > SMALL:  # removed here since the walk began
                continue
            if not self._namespace.may_be_link(attr):
                yield directory, name, attr

    def _is_wanted(self, directory: Inode, name: str, attr: FileAttr) -> bool:
        """Whether an open would have to ask the server, or a read the disk."""
        inode = self._inodes.find(inode_number(attr, "")) if attr.file_id else None
        return inode is None or inode.pages is None or inode.name != name

    async def _bring(self, batch: Sequence[Fetch]) -> None:
        """Look the files up in the disk cache, and ask the server for the others."""
        try:
            stored = await self._cache.load_whole([(fetch.attr, fetch.path) for fetch in batch])
            for fetch, head in zip(batch, stored, strict=True):
                fetch.head, fetch.stored = head, head is not None
                number = inode_number(fetch.attr, "")
                if head is not None and self._judge.was_opened(
                    number, fetch.attr, (fetch.directory.number, fetch.name)
                ):
                    fetch.done.set()
                else:
                    self._nursery.start_soon(self._fetch, fetch)
        except BaseException:
            for fetch in batch:
                self._lose(fetch)
            raise

    async def _fetch(self, fetch: Fetch) -> None:
        try:
            if not self._closed:
                asked = trio.current_time()
                size = SMALL if fetch.attr.size and not fetch.stored else 0
                got = await self._namespace.fetch(fetch.path, size)
                if got is not None:
                    self._fill(fetch, *got, asked)
        except NetfsError:
            pass
        finally:
            if fetch.checked:
                fetch.done.set()
            else:
                self._lose(fetch)

    def _fill(self, fetch: Fetch, attr: FileAttr, head: memoryview, asked: float) -> None:
        """The server has answered."""
        if not fetch.stored:
            fetch.head = head
        elif not same_content(coherency_of(fetch.attr), attr):
            return
        fetch.attr, fetch.asked, fetch.checked = attr, asked, True

    def _lose(self, fetch: Fetch) -> None:
        key = (fetch.directory.number, fetch.name)
        if self._fetches.get(key) is fetch:
            del self._fetches[key]
        fetch.head = None
        fetch.done.set()

    async def take(self, inode: Inode) -> Fetch | None:
        """What was fetched of the file, if it is the file as it is now; for one open."""
        parent = inode.parent
        if parent is None:
            return None
        key = (parent.number, inode.name)
        fetch = self._fetches.get(key)
        if fetch is None:
            return None
        if not fetch.done.is_set():
            fetch.waited = True
            await fetch.done.wait()
        if self._fetches.get(key) is fetch:
            del self._fetches[key]
        if fetch.head is None or fetch.forgotten or not self._is_current(fetch):
            return None
        if fetch.waited:
            self._window = min(self._window * 1.25 + 1, float(self._most))
        return fetch

    def forget(self, directory: Inode, name: str) -> None:
        """The file was changed or removed here: what was fetched of it is of no use."""
        if (fetch := self._fetches.pop((directory.number, name), None)) is not None:
            fetch.forgotten = True

    def _is_current(self, fetch: Fetch) -> bool:
        return self._judge.fetched(fetch.directory, fetch.name, fetch.asked)

    def _drop_old(self) -> None:
        """What no reader came for, and what is too much."""
        now = trio.current_time()
        while self._fetches:
            key, oldest = next(iter(self._fetches.items()))
            if len(self._fetches) <= 2 * self._most and now - oldest.asked < HELD:
                return
            del self._fetches[key]
            self._stats.wasted += 1
            self._window = max(self._window / 2, float(min(WINDOW_MIN, self._most)))

    def close(self) -> None:
        """Fetch nothing more."""
        self._closed = True
        self._most = 0
        self._fetches.clear()
        self._walks.clear()


_WALKS_MAX = 256


def _of_kind(folder: Folder, *, directories: bool) -> dict[str, FileAttr]:
    return {name: attr for name, attr in folder.attrs.items() if attr.is_directory == directories}
