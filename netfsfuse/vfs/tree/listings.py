"""Open directories, and the listings that are kept. Raises ``NetfsError`` only.

What a reader lists goes into its handle page by page. A listing that was read to its end, and is
not too long, is kept as the inode's :class:`~netfsfuse.vfs.inodes.directory.Folder`: look-ups and
the next listing are answered from it as long as it is believed. Together the kept ones hold at most
``KEPT_MAX`` entries; those used longest ago go first.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Callable
from functools import partial

import trio

from netfsfuse.errors import NetfsError, NotADirectory, NotFound, Stale
from netfsfuse.types import DirEntry, FileAttr, FileKind
from netfsfuse.vfs.coherency.judge import Judge
from netfsfuse.vfs.coherency.stand_in import StandIn
from netfsfuse.vfs.coherency.watches import Watches
from netfsfuse.vfs.inodes.directory import Folder
from netfsfuse.vfs.inodes.handles import DirectoryHandle, HandleTable
from netfsfuse.vfs.inodes.inodes import Inode, InodeTable
from netfsfuse.vfs.ops import Listing, Namespace
from netfsfuse.vfs.tree.recent import RecentChanges

BATCH = 128
"""Entries handed out at a time: about what one FUSE reply holds, so little is bound in vain."""

FOLDER_MAX = 20_000
"""Entries of a listing that is kept. A larger directory is listed anew each time."""

KEPT_MAX = 100_000
"""Entries of all listings that are kept: some 100 bytes each beside what inodes share, and 400
where they share nothing."""


class Listings:
    """Open directories, and the listings that are kept. ``learn``: takes in what is known of a
    directory as of when it was asked."""

    def __init__(
        self,
        namespace: Namespace,
        inodes: InodeTable,
        watches: Watches,
        judge: Judge,
        learn: Callable[[Inode, FileAttr, float], None],
        stand_in: StandIn,
    ) -> None:
        self._namespace = namespace
        self._inodes = inodes
        self._watches = watches
        self._judge = judge
        self._learn = learn
        self._stand_in = stand_in
        self.handles: HandleTable[DirectoryHandle] = HandleTable()
        self._kept: dict[Inode, int] = {}  # entries; the one used longest ago first
        self._entries = 0
        self._filling: dict[Inode, trio.Event] = {}
        self.recent = RecentChanges()

    # -- what is kept -------------------------------------------------------------------------

    def believed(self, inode: Inode) -> Folder | None:
        """The directory's listing, if it may be shown now."""
        return self._judge.listing(inode)

    def keep(self, inode: Inode, attrs: dict[str, FileAttr], asked: float) -> None:
        """Keep a complete listing, begun when it was ``asked``; put right by what was changed here
        since."""
        if self._judge.config.acdirmax <= 0 or len(attrs) > FOLDER_MAX:
            return
        self.forget(inode)
        if not self.recent.put_right(inode, attrs, asked, trio.current_time()):
            return
        inode.folder = Folder(attrs, asked)
        if inode.watched is not None:
            inode.watched.listed(inode.folder)
        self._kept[inode] = len(attrs)
        self._entries += len(attrs)
        while self._entries > KEPT_MAX and len(self._kept) > 1:
            self.forget(next(iter(self._kept)))

    def forget(self, inode: Inode) -> None:
        """Keep nothing of the directory."""
        inode.folder = None
        self._entries -= self._kept.pop(inode, 0)

    def put(self, inode: Inode, name: str, attr: FileAttr) -> None:
        """``name`` was made in the directory here, or changed."""
        if inode.folder is not None:
            inode.folder.put(name, attr)
            self._resized(inode)

    def drop(self, inode: Inode, name: str) -> None:
        """``name`` was removed here."""
        if inode.folder is not None:
            inode.folder.drop(name)
            self._resized(inode)

    def _resized(self, inode: Inode) -> None:
        assert inode.folder is not None
        size = len(inode.folder.attrs)
        if size > FOLDER_MAX:
            self.forget(inode)
        elif inode in self._kept:
            self._entries += size - self._kept[inode]
            self._kept[inode] = size

    def _used(self, inode: Inode) -> None:
        if inode in self._kept:
            self._kept[inode] = self._kept.pop(inode)

    async def fill(self, inode: Inode) -> None:
        """List the directory for the reader that comes next. Raises no NetfsError; a listing that
        another task is filling is left to it."""
        if inode not in self._filling and self.believed(inode) is None:
            await self._fill(inode)

    async def _fill(self, inode: Inode) -> None:
        self._filling[inode] = over = trio.Event()
        try:
            self._watches.use(inode)
            asked = trio.current_time()
            listing = await self._namespace.list(inode.path)
            try:
                attrs: dict[str, FileAttr] = {}
                while page := await listing.next_page():
                    attrs.update(page)
                    if len(attrs) > FOLDER_MAX:
                        self.forget(inode)  # what was kept has grown: it would be tried again
                        return
                self.keep(inode, attrs, asked)
                self._learn_own(inode, listing, asked)
            finally:
                await listing.aclose()
        except NetfsError:
            return  # the reader that lists it is told
        finally:
            del self._filling[inode]
            over.set()

    async def relist(self, inode: Inode) -> None:
        """List the directory anew, or wait for the task that does so already. As :meth:`fill`."""
        if (filling := self._filling.get(inode)) is not None:
            await filling.wait()
        else:
            await self._fill(inode)

    def _learn_own(self, inode: Inode, listing: Listing, asked: float) -> None:
        """What the listing says of the directory itself, which its parent's watch is not told."""
        inode.linked = listing.is_followed
        own = listing.own
        if own is not None and own.file_id == inode.attr.file_id:
            times = {"access": own.access, "write": own.write, "change": own.change}
            self._learn(inode, inode.attr._replace(**times), asked)

    # -- handles ------------------------------------------------------------------------------

    async def opendir(self, number: int) -> int:
        """Open a directory; returns its fh."""
        inode = self._inodes.get(number)
        if inode.kind is not FileKind.DIRECTORY:
            raise NotADirectory(inode.path)
        handle = DirectoryHandle(inode)
        await self._begin(handle)
        return self.handles.add(handle)

    async def _begin(self, handle: DirectoryHandle, *, anew: bool = False) -> None:
        """From the first entry. ``anew``: as the directory is now, not as it was a moment ago."""
        inode = handle.inode
        handle.entries, handle.pages, handle.complete, handle.used = [], [], False, False
        handle.links, handle.examined, handle.given = {}, 0, set()
        found: Folder | DirectoryHandle | None = None
        if anew or inode not in self._filling:
            self._watches.use(inode)
            found = self._judge.listing(inode, rewound=anew)
        if found is None:
            found = await self._stand_in.ask(
                partial(self._list, handle), partial(self._remembered, handle)
            )
        if isinstance(found, Folder):
            self._show(handle, found)

    def _show(self, handle: DirectoryHandle, folder: Folder) -> None:
        self._used(handle.inode)
        handle.entries = list(map(DirEntry._make, folder.attrs.items()))
        handle.pages = [(0, folder.asked)]
        handle.complete = True

    async def _list(self, handle: DirectoryHandle) -> Folder | DirectoryHandle:
        """Begin to list for the handle, if no task fills a listing just now that will be kept."""
        inode = handle.inode
        while (filling := self._filling.get(inode)) is not None:
            await filling.wait()
            self._watches.use(inode)
            if (folder := self._judge.listing(inode)) is not None:
                return folder
        handle.asked = trio.current_time()
        try:
            handle.listing = await self._namespace.list(inode.path)
        except NotFound as gone:
            raise Stale(f"{inode.path!r} is gone") from gone
        return handle

    async def _remembered(self, handle: DirectoryHandle) -> Folder | DirectoryHandle:
        """What is kept; where nothing is, a handle that is opened lists when it is read."""
        old, handle.listing = handle.listing, None
        if old is not None:
            await old.aclose()
        return handle.inode.folder or handle

    async def readdir(self, fh: int, position: int) -> list[tuple[DirEntry, int]]:
        """Some entries from ``position`` on, each with the position behind it; [] at the end.

        Position 0 after the first reading (rewinddir) lists anew.
        """
        handle = self.handles.get(fh)
        async with handle.lock:
            if position == 0 and handle.used:
                old, handle.listing = handle.listing, None
                if old is not None:
                    await old.aclose()
                await self._begin(handle, anew=True)
            handle.used = True
            while position >= len(handle.entries) and not handle.complete:
                await self._next_page(handle)
            batch = handle.entries[position : position + BATCH]
        return [(entry, position + index + 1) for index, entry in enumerate(batch)]

    async def _next_page(self, handle: DirectoryHandle) -> None:
        if handle.entries or handle.inode.folder is None:
            page = await self._ask_page(handle)
        else:
            found = await self._stand_in.ask(
                partial(self._ask_page, handle), partial(self._remembered, handle)
            )
            if isinstance(found, Folder):
                self._show(handle, found)
                return
            page = found if isinstance(found, list) else await self._ask_page(handle)
        assert handle.listing is not None
        if page and handle.given:
            page = [entry for entry in page if entry.name not in handle.given]
            if not page:
                return
        if page:
            handle.pages.append((len(handle.entries), handle.listing.asked))
            handle.entries.extend(page)
            await trio.lowlevel.checkpoint()  # a page took 2 ms: others first
            return
        handle.complete = True
        self._learn_own(handle.inode, handle.listing, handle.asked)
        await self._close(handle.listing, handle)
        if len(handle.entries) <= FOLDER_MAX:
            self.keep(handle.inode, dict(handle.entries), handle.asked)
        else:
            self.forget(handle.inode)

    async def _ask_page(self, handle: DirectoryHandle) -> list[DirEntry]:
        if handle.listing is None:  # it gave way: what was given out already is passed over
            if not handle.entries:
                handle.asked = trio.current_time()
            handle.listing = await self._namespace.list(handle.inode.path)
            handle.given = {entry.name for entry in handle.entries}
        return await handle.listing.next_page()

    async def _close(self, listing: Listing, handle: DirectoryHandle) -> None:
        handle.listing = None
        await listing.aclose()

    async def give_way(self, directory: Inode, name: str) -> None:
        """Close what is open on the server of the directory at ``name`` and of all below it; a
        reader of theirs goes on with a listing begun anew. Raises no NetfsError."""
        for inode, over in list(self._filling.items()):
            if inode.is_at(directory, name):
                await over.wait()
        for fh in self.handles.numbers():
            handle = self.handles.get(fh)
            if handle.listing is not None and handle.inode.is_at(directory, name):
                async with handle.lock:
                    if handle.listing is not None:
                        await self._close(handle.listing, handle)

    def asked(self, handle: DirectoryHandle, position: int) -> float:
        """When the entry before ``position`` was asked for."""
        last, asked = handle.pages[-1]
        if position > last:  # most directories are one page
            return asked
        place = bisect_right(handle.pages, position - 1, key=lambda page: page[0])
        return handle.pages[place - 1][1]

    async def release(self, handle: DirectoryHandle) -> None:
        """Close a handle that was taken out of the table."""
        if handle.listing is not None:
            await self._close(handle.listing, handle)

    def aclose(self) -> None:
        """Forget all handles: the server's end with the session."""
        for fh in self.handles.numbers():
            self.handles.pop(fh)
