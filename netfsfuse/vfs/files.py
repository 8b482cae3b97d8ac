"""Open files: what an open asks of the server, and where reads go. Raises ``NetfsError`` only.

An open is answered, in this order of preference,

- from memory, where the file was opened before and a watch says that nothing has changed since;
- from what was fetched ahead of the reader (``ahead.py``);
- by one compound that opens, reads and closes, where the file is small and has not been opened yet;
- by opening it.

In the first three no handle is open on the server until somebody reads what is not at hand.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass

import trio

from netfsfuse.errors import IsADirectory, NotFound, Shrunk, Stale
from netfsfuse.types import FileAttr, FileKind, same_content
from netfsfuse.types import coherency_of as record_of
from netfsfuse.vfs.ahead import Ahead
from netfsfuse.vfs.contents import Contents
from netfsfuse.vfs.handles import FileHandle, HandleTable
from netfsfuse.vfs.identity import is_settled, is_sound_end
from netfsfuse.vfs.inodes import Inode, InodeTable
from netfsfuse.vfs.names import Names
from netfsfuse.vfs.ops import SMALL, Namespace, OpenFile


@dataclass(frozen=True, slots=True)
class Opened:
    """Answer to an open. ``keep_cache``: the kernel's pages are still right.
    ``attributes_changed``: the kernel's idea of the attributes is not, tell it so first.
    """

    fh: int
    keep_cache: bool
    attributes_changed: bool


class Files:
    """See the module. ``server_time``: the server's clock, seconds since 1970."""

    def __init__(
        self,
        namespace: Namespace,
        contents: Contents,
        inodes: InodeTable,
        server_time: Callable[[], float],
    ) -> None:
        self._namespace = namespace
        self._contents = contents
        self._inodes = inodes
        self._server_time = server_time
        self.handles: HandleTable[FileHandle] = HandleTable()
        self._by_inode: dict[Inode, list[FileHandle]] = {}

    def open_by(self, inode: Inode) -> Iterator[OpenFile]:
        """The files that are open by ``inode``."""
        return iter([handle.file for handle in self._by_inode.get(inode, ())])

    async def open(self, number: int, names: Names, ahead: Ahead, *, direct: bool) -> Opened:
        """Open for reading what is at the inode's path now, if that is still the inode's file."""
        inode = self._inodes.get(number)
        if inode.kind is FileKind.DIRECTORY:
            raise IsADirectory(inode.path)
        before = record_of(inode.attr)
        ahead.use_file(inode)
        if not direct and self._is_known(inode, names):
            file = self._namespace.open_later(inode.path, inode.attr, None, self._hook(inode))
            return await self._add(inode, file, direct, before)
        try:
            file, asked = await self._ask(inode, ahead, direct)
        except NotFound as gone:
            raise Stale(f"{inode.path!r} is gone") from gone
        try:
            await names.accept(inode, file.attr, asked, final=True)
        except BaseException:
            await file.aclose()
            raise
        return await self._add(inode, file, direct, before)

    def _is_known(self, inode: Inode, names: Names) -> bool:
        """Whether an open of ours has succeeded, and nothing has changed since."""
        opened = inode.pages
        return (
            opened is not None
            and names.is_watched(inode, inode.known_at)
            and same_content(record_of(opened), inode.attr)
        )

    async def _ask(self, inode: Inode, ahead: Ahead, direct: bool) -> tuple[OpenFile, float]:
        """The file as the server has it, and when it was asked."""
        path = inode.path
        if not direct:
            fetched = await ahead.take(inode)
            if (
                fetched is not None
                and fetched.attr is not None
                and is_settled(fetched.attr, self._server_time())
            ):
                later = self._namespace.open_later(
                    path, fetched.attr, fetched.head, self._hook(inode)
                )
                return later, fetched.asked
            if inode.attr.size <= SMALL and inode.pages is None and not self.is_open(inode):
                asked = trio.current_time()
                got = await self._namespace.fetch(path, SMALL if inode.attr.size else 0)
                # What may change once more without a trace is read when somebody reads it.
                if got is not None and is_settled(got[0], self._server_time()):
                    return self._namespace.open_later(path, *got, self._hook(inode)), asked
        asked = trio.current_time()
        return await self._namespace.open(path), asked

    def is_open(self, inode: Inode) -> bool:
        """Whether anybody has the file open here."""
        return inode in self._by_inode

    def _hook(self, inode: Inode) -> Callable[[FileAttr], None]:
        """To be told what a file is when it is opened on the server after all."""

        def opened(attr: FileAttr) -> None:
            if not same_content(record_of(inode.attr), attr):
                inode.attr_until = 0.0
                self._contents.retire(inode.number)

        return opened

    async def _add(self, inode: Inode, file: OpenFile, direct: bool, before: object) -> Opened:
        content = None
        number = inode.number
        try:
            settled = is_settled(file.attr, self._server_time())
            content = await self._contents.acquire(number, file.attr, inode.path, settled=settled)
            keep = inode.keeps_pages(file.attr, trio.current_time())
            inode.pages = file.attr if settled else None
            handle = FileHandle(inode, file, content, content.netfs.open(file), direct)
            self._by_inode.setdefault(inode, []).append(handle)
            return Opened(self.handles.add(handle), keep, before != record_of(file.attr))
        except BaseException:
            try:
                if content is not None:
                    await self._contents.release(number, content)
            finally:
                await file.aclose()
            raise

    async def read(self, fh: int, start: int, size: int) -> memoryview | bytes:
        """The bytes; fewer than ``size`` only at the end of the file.

        The end is where the kernel was told last that it is. A shorter answer means that the file
        has grown since the handle was opened: then it is asked of the server; or that it has
        shrunk: the kernel would fill up its pages with zeros, and with several reads under way take
        the wrong one's end for the size, so it gets Shrunk.
        """
        handle = self.handles.get(fh)
        stated = handle.inode.attr.size
        if handle.content.netfs.retired:
            handle.file.drop_head()

        def ends_well(got: int) -> bool:
            largest = max(stated, handle.inode.attr.size)
            return is_sound_end(start, size, got, largest, direct=handle.direct)

        answer = await handle.reader.read(start, size)
        if not ends_well(len(answer)):
            handle.content.netfs.retire()
            handle.file.drop_head()
            answer = await handle.reader.read(start, size)
        if not ends_well(len(answer)):
            handle.inode.attr_until = 0.0
            if not handle.direct:
                raise Shrunk(f"{handle.inode.path!r} ends at {start + len(answer)} or before")
        return answer

    async def release(self, handle: FileHandle) -> None:
        """Close a handle that was taken out of the table."""
        self._closed(handle)
        try:
            await handle.reader.aclose()
        finally:
            try:
                await handle.file.aclose()
            finally:
                await self._contents.release(handle.inode.number, handle.content)

    def _closed(self, handle: FileHandle) -> None:
        handles = self._by_inode[handle.inode]
        handles.remove(handle)
        if not handles:
            del self._by_inode[handle.inode]

    async def aclose(self) -> None:
        """Close all handles: nobody waits for their reads, and the server's end with the session.
        What has arrived is still stored."""
        for fh in self.handles.numbers():
            handle = self.handles.pop(fh)
            if handle is not None:
                self._closed(handle)
                with trio.CancelScope() as scope:
                    scope.cancel()
                    await handle.reader.aclose()
                await self._contents.release(handle.inode.number, handle.content)
