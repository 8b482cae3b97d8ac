"""The calls of a read-only file system. Raises ``NetfsError`` only.

Every answer of the server passes :meth:`FileSystem._bind` or :meth:`FileSystem._accept`, which hold
it against the inode that the kernel means: a changed file retires its content, and a name that has
become another file raises Stale (getattr, open), upon which the kernel looks the name up anew, or
gets a new generation (look-up, listing), upon which it drops the old inode's pages and handles.
"""

from __future__ import annotations

import logging
import math
from collections.abc import Callable
from dataclasses import dataclass

import trio

from netfsfuse.errors import (
    AccessDenied,
    Disconnected,
    IsADirectory,
    Locked,
    NetfsError,
    NotADirectory,
    NotFound,
    Shrunk,
    Stale,
)
from netfsfuse.stats import VfsStats
from netfsfuse.types import (
    DirEntry,
    FileAttr,
    FileKind,
    VolumeStat,
    creation_is_derived,
    same_content,
)
from netfsfuse.types import coherency_of as record_of
from netfsfuse.vfs.contents import Contents
from netfsfuse.vfs.handles import DirectoryHandle, FileHandle, HandleTable
from netfsfuse.vfs.identity import inode_number, is_settled, is_sound_end, surely_same_file
from netfsfuse.vfs.inodes import Inode, InodeTable
from netfsfuse.vfs.ops import Namespace

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Opened:
    """Answer to an open. ``keep_cache``: the kernel's pages are still right.
    ``attributes_changed``: the kernel's idea of the attributes is not, tell it so first.
    """

    fh: int
    keep_cache: bool
    attributes_changed: bool


class FileSystem:
    """See the module. ``server_time``: the server's clock, seconds since 1970."""

    def __init__(
        self,
        *,
        root: FileAttr,
        namespace: Namespace,
        contents: Contents,
        actimeo: float,
        server_time: Callable[[], float],
        stats: VfsStats,
    ) -> None:
        self._namespace = namespace
        self._contents = contents
        self._actimeo = actimeo
        self._server_time = server_time
        self._stats = stats
        self.inodes = InodeTable(root, stats)
        self._volume: VolumeStat | None = None
        self._files: HandleTable[FileHandle] = HandleTable()
        self._directories: HandleTable[DirectoryHandle] = HandleTable()

    # -- names and attributes -----------------------------------------------------------------

    async def lookup(self, parent: int, raw_name: bytes) -> Inode:
        """The inode a name leads to. The caller counts the look-up once the kernel is told.

        Raises NotFound for a name that is not there.
        """
        directory = self.inodes.get(parent)
        name = self._namespace.decode_name(raw_name)
        path = f"{directory.path}/{name}" if directory.parent else name
        asked = trio.current_time()
        attr = await self._namespace.stat(path)
        return await self._bind(directory, name, path, attr, asked)

    async def _bind(
        self, parent: Inode, name: str, path: str, attr: FileAttr, asked: float
    ) -> Inode:
        """The inode for what the server, ``asked`` then, says is at ``path``: ``attr``."""
        target = await self._link_target(path, attr)
        number = inode_number(attr, path)
        same = True
        while (inode := self.inodes.find(number)) is not None:
            if asked < inode.known_at:
                return inode
            same = await self._is_same(inode, attr)
            # The kernel may have forgotten it meanwhile, or somebody learned more.
            if self.inodes.find(number) is inode and asked >= inode.known_at:
                break
        if inode is None:
            inode = self.inodes.add(Inode(number, parent, name, attr))
        else:
            if not same:
                log.debug("inode %d is another file now: %s", number, path)
                inode.generation = attr.creation
                inode.pages = None
                self._contents.retire(number)
            elif (inode.parent, inode.name) != (parent, name) and creation_is_derived(attr):
                # It may be another file by another name, with equal times: see fscache/cookie.py.
                inode.pages = None
                self._contents.retire(number)
            if not inode.holds(parent):
                inode.parent, inode.name = parent, name
        inode.target = target
        self._learn(inode, attr, asked)
        return inode

    async def _link_target(self, path: str, attr: FileAttr) -> str | None:
        """The target if ``path`` is a symlink. A link we may not read is shown as a file."""
        if not self._namespace.may_be_link(attr):
            return None
        try:
            return await self._namespace.read_link(path, attr)
        except (AccessDenied, Locked, NotFound) as failed:
            log.debug("reading a possible link: %s", failed)
            return None

    def _learn(self, inode: Inode, attr: FileAttr, asked: float) -> None:
        """Take in the answer to a question of ``asked``, unless a later one was answered first: the
        kernel would be told an old size, and cut readers off who have seen more.
        """
        if asked < inode.known_at:
            return
        inode.known_at = min(asked, trio.current_time())
        inode.attr = attr
        inode.attr_until = trio.current_time() + self._actimeo
        self._contents.changed(inode.number, attr)

    async def _is_same(self, inode: Inode, attr: FileAttr) -> bool:
        """Whether what has the inode's number now may go on as the inode.

        It may be a new file that was given a dead one's number. That matters to those who hold the
        inode's file open, and an open handle can be asked. With none open it is a matter of
        content, as any change in place is (and servers that derive creation times tell the two
        apart by nothing): the kernel would fail everybody who is just opening the inode with EIO if
        it were told of another one each time.
        """
        if surely_same_file(inode.attr, attr):
            return True
        if inode.attr.is_directory != attr.is_directory:
            return False
        handles = [handle for handle in self._files.all() if handle.inode is inode]
        for handle in handles:
            try:
                now = await handle.file.query()
            except NetfsError as failed:
                log.debug("asking an open handle: %s", failed)
                continue
            if same_content(record_of(now), attr):
                return True
        return not handles

    async def _accept(self, inode: Inode, attr: FileAttr, asked: float) -> None:
        """Hold what is at the inode's path now against the inode. Raises Stale if it is another."""
        if inode is not self.inodes.root and asked >= inode.known_at:
            if inode_number(attr, inode.path) != inode.number:
                raise Stale(f"{inode.path!r} is another file now")
            if not await self._is_same(inode, attr):
                raise Stale(f"{inode.path!r} was made anew")
            if not same_content(record_of(inode.attr), attr):
                await self._accept_target(inode, attr)
        self._learn(inode, attr, asked)

    async def _accept_target(self, inode: Inode, attr: FileAttr) -> None:
        """A changed file may have become a symlink, or one that leads elsewhere."""
        target = await self._link_target(inode.path, attr)
        if (target is None) != (inode.target is None):
            raise Stale(f"{inode.path!r} is of another kind now")
        inode.target = target

    async def getattr(self, number: int) -> Inode:
        """The inode with attributes not older than ``actimeo``.

        The root is answered from memory while the server cannot be reached.
        """
        inode = self.inodes.get(number)
        if trio.current_time() < inode.attr_until:
            return inode
        if inode is self.inodes.root:
            await self._refresh_root(inode)
            return inode
        asked = trio.current_time()
        try:
            attr = await self._namespace.stat(inode.path)
        except NotFound:
            await self._accept_removed(inode)
            return inode
        await self._accept(inode, attr, asked)
        return inode

    async def _refresh_root(self, root: Inode) -> None:
        """Every desktop and every df stats mount points: a server that is away must not hang it."""
        asked = trio.current_time()
        try:
            with trio.move_on_after(PATIENCE) as scope:
                self._learn(root, await self._namespace.stat(""), asked)
        except Disconnected as failed:
            log.debug("the root is shown as it was: %s", failed)
        if scope.cancelled_caught:  # one path look-up asks several times, and would wait each time
            root.attr_until = trio.current_time() + REST

    async def _accept_removed(self, inode: Inode) -> None:
        """The path is gone. A file that is still open here has attributes all the same."""
        for handle in self._files.all():
            if handle.inode is inode:
                asked = trio.current_time()
                self._learn(inode, await handle.file.query(), asked)
                return
        raise Stale(f"{inode.path!r} is gone")

    def readlink(self, number: int) -> str:
        """The target of a symlink that was looked up."""
        target = self.inodes.get(number).target
        if target is None:
            raise Stale(f"inode {number} is no symlink any more")
        return target

    def forget(self, number: int, nlookup: int) -> None:
        """The kernel lets go. Never raises."""
        self.inodes.forget(number, nlookup)

    async def statfs(self) -> VolumeStat:
        """Space on the server's volume; the last known while the server cannot be reached."""
        try:
            with trio.move_on_after(PATIENCE if self._volume else math.inf):
                self._volume = await self._namespace.stat_volume()
        except Disconnected as failed:
            if self._volume is None:
                raise
            log.debug("space is shown as it was: %s", failed)
        if self._volume is None:
            raise Disconnected("the server has not told its space yet")
        return self._volume

    # -- files --------------------------------------------------------------------------------

    async def open(self, number: int, *, direct: bool = False) -> Opened:
        """Open for reading what is at the inode's path now, if that is still the inode's file."""
        inode = self.inodes.get(number)
        if inode.kind is FileKind.DIRECTORY:
            raise IsADirectory(inode.path)
        try:
            file = await self._namespace.open(inode.path)
        except NotFound as gone:
            raise Stale(f"{inode.path!r} is gone") from gone
        content = None
        try:
            before = record_of(inode.attr)
            # An open has the last word: it was made while no other handle of ours could stand in
            # the way of the times, which a look at the path cannot say.
            await self._accept(inode, file.attr, math.inf)
            settled = is_settled(file.attr, self._server_time())
            content = await self._contents.acquire(number, file.attr, inode.path, settled=settled)
            keep = inode.keeps_pages(file.attr, trio.current_time())
            inode.pages = file.attr if settled else None
            handle = FileHandle(inode, file, content, content.netfs.open(file), direct)
            opened = Opened(self._files.add(handle), keep, before != record_of(file.attr))
        except BaseException:
            try:
                if content is not None:
                    await self._contents.release(number, content)
            finally:
                await file.aclose()
            raise
        self._count_handles()
        return opened

    async def read(self, fh: int, start: int, size: int) -> memoryview | bytes:
        """The bytes; fewer than ``size`` only at the end of the file.

        The end is where the kernel was told last that it is. A shorter answer means that the file
        has grown since the handle was opened: then it is asked of the server; or that it has
        shrunk: the kernel would fill up its pages with zeros, and with several reads under way take
        the wrong one's end for the size, so it gets Shrunk.
        """
        handle = self._files.get(fh)
        stated = handle.inode.attr.size

        def ends_well(got: int) -> bool:
            largest = max(stated, handle.inode.attr.size)
            return is_sound_end(start, size, got, largest, direct=handle.direct)

        answer = await handle.reader.read(start, size)
        if not ends_well(len(answer)):
            handle.content.netfs.retire()
            answer = await handle.reader.read(start, size)
        if not ends_well(len(answer)):
            handle.inode.attr_until = 0.0
            if not handle.direct:
                raise Shrunk(f"{handle.inode.path!r} ends at {start + len(answer)} or before")
        return answer

    def file_inode(self, fh: int) -> Inode:
        """The inode of an open file."""
        return self._files.get(fh).inode

    async def release(self, fh: int) -> None:
        """Close a file handle."""
        handle = self._files.pop(fh)
        if handle is None:
            return
        self._count_handles()
        try:
            await handle.reader.aclose()
        finally:
            try:
                await handle.file.aclose()
            finally:
                await self._contents.release(handle.inode.number, handle.content)

    def _count_handles(self) -> None:
        self._stats.handles = len(self._files) + len(self._directories)

    # -- directories --------------------------------------------------------------------------

    async def opendir(self, number: int) -> int:
        """Open a directory; returns its fh."""
        inode = self.inodes.get(number)
        if inode.kind is not FileKind.DIRECTORY:
            raise NotADirectory(inode.path)
        asked = trio.current_time()
        try:
            listing = await self._namespace.list(inode.path)
        except NotFound as gone:
            raise Stale(f"{inode.path!r} is gone") from gone
        fh = self._directories.add(DirectoryHandle(inode, listing, asked))
        self._count_handles()
        return fh

    async def readdir(self, fh: int, position: int) -> list[tuple[DirEntry, int]]:
        """Some entries from ``position`` on, each with the position behind it; [] at the end.

        Position 0 after the first reading (rewinddir) lists anew.
        """
        handle = self._directories.get(fh)
        async with handle.lock:
            if position == 0 and handle.used:
                asked = trio.current_time()
                listing = await self._namespace.list(handle.inode.path)
                await handle.listing.aclose()
                handle.listing, handle.entries, handle.complete = listing, [], False
                handle.asked = asked
            handle.used = True
            while position >= len(handle.entries) and not handle.complete:
                page = await handle.listing.next_page()
                handle.entries.extend(page)
                handle.complete = not page
                await trio.lowlevel.checkpoint()  # a page took 2 ms: others first
            batch = handle.entries[position : position + _BATCH]
        return [(entry, position + index + 1) for index, entry in enumerate(batch)]

    def directory_inode(self, fh: int) -> Inode:
        """The inode of an open directory."""
        return self._directories.get(fh).inode

    async def bind_entry(self, fh: int, entry: DirEntry) -> Inode:
        """The inode of an entry of an open directory, whose attributes are as old as the listing.
        The caller counts the look-up once the kernel is told, or calls ``inodes.discard_unknown``.
        """
        handle = self._directories.get(fh)
        directory = handle.inode
        path = f"{directory.path}/{entry.name}" if directory.parent else entry.name
        return await self._bind(directory, entry.name, path, entry.attr, handle.asked)

    async def releasedir(self, fh: int) -> None:
        """Close a directory handle."""
        handle = self._directories.pop(fh)
        if handle is not None:
            self._count_handles()
            await handle.listing.aclose()

    async def aclose(self) -> None:
        """Let go of all handles that the kernel has left behind: nobody waits for their reads, and
        the server's handles end with the session. What has arrived is still stored.
        """
        for fh in self._files.numbers():
            handle = self._files.pop(fh)
            if handle is not None:
                with trio.CancelScope() as scope:
                    scope.cancel()
                    await handle.reader.aclose()
                await self._contents.release(handle.inode.number, handle.content)
        for fh in self._directories.numbers():
            self._directories.pop(fh)
        self._count_handles()


PATIENCE = 2.0
"""Seconds that ``stat`` of the root and ``df`` wait for the server before they show what was."""

REST = 5.0
"""Seconds after which a silent server is asked for the root again."""

_BATCH = 128
"""Entries handed out at a time: about what one FUSE reply holds, so little is bound in vain."""
