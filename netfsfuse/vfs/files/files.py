"""Open files: what an open asks of the server, and where reads go. Raises ``NetfsError`` only.

An open is answered, in this order of preference,

- from memory, where the file was opened before and a watch says that nothing has changed since;
- from what was fetched ahead of the reader (``ahead.py``);
- by a handle that is open under a lease, used or parked (``smb/openfiles.py``);
- by opening it, a small file with its bytes in the same round trip.

The directory of a file that is opened is watched from then on, so that the next open may come from
memory. A lease alone says nothing of what the server's own users do: it is trusted for a moment
where no watch is to be had.

In the first two no handle is open on the server until somebody reads what is not at hand, or has
the file open for a while (``holding.py``). What is at hand is all of a small file mostly: then
reads are answered from that memory, and the file's content in ``netfs`` and on disk is not opened
at all; it is stored whole, behind the reader.

An open file goes on as what it was, whatever its path leads to: it is asked by its handle.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import trio

from netfsfuse.errors import IsADirectory, NotFound, Shrunk, Stale
from netfsfuse.netfs import NetfsFile
from netfsfuse.stats import ApplicationStats
from netfsfuse.types import Change, ChangeKind, FileAttr, FileKind, ServerTime, same_content
from netfsfuse.types import coherency_of as record_of
from netfsfuse.vfs.coherency import trust
from netfsfuse.vfs.coherency.opened import OpenedFiles
from netfsfuse.vfs.coherency.watches import Watches
from netfsfuse.vfs.contents import Contents
from netfsfuse.vfs.files.holding import Holding
from netfsfuse.vfs.inodes.handles import FileHandle, HandleTable
from netfsfuse.vfs.inodes.identity import Sight, is_settled, is_sound_end, racy_for
from netfsfuse.vfs.inodes.inodes import Inode, InodeTable
from netfsfuse.vfs.ops import SMALL, Namespace, OpenFile
from netfsfuse.vfs.prefetch.prefetch import Ahead
from netfsfuse.vfs.tree.names import Names


@dataclass(frozen=True, slots=True)
class Opened:
    """Answer to an open. ``keep_cache``: the kernel's pages are still right.
    ``attributes_changed``: the kernel's idea of the attributes is not, tell it so first.
    """

    fh: int
    keep_cache: bool
    attributes_changed: bool


@dataclass(frozen=True, slots=True)
class _Found:
    """A file, and when the server was asked for it; None: not for this open. ``new``: its content
    is not stored yet. ``later``: it may be closed before anything of it is read. ``settled``: it
    was found to be, when the server was asked."""

    file: OpenFile
    asked: float | None
    new: bool = False
    later: bool = True
    settled: bool = False


class Files:
    """See the module. ``server_time``: the server's clock, now. Without ``keeping``
    every open and every read asks the server, and nothing is kept of what it says. ``told`` hears
    of what others change, as far as it is found out here. ``holding`` is told of files that no
    handle holds."""

    def __init__(
        self,
        namespace: Namespace,
        contents: Contents,
        inodes: InodeTable,
        opened: OpenedFiles,
        server_time: Callable[[], ServerTime],
        stats: ApplicationStats,
        watches: Watches,
        told: Callable[[Inode, Sequence[Change]], None],
        holding: Holding,
        *,
        keeping: bool,
    ) -> None:
        self._namespace = namespace
        self._contents = contents
        self._inodes = inodes
        self._opened = opened
        self._server_time = server_time
        self._stats = stats
        self._watches = watches
        self._told = told
        self._holding = holding
        self._keeping = keeping
        self.handles: HandleTable[FileHandle] = HandleTable()
        self._by_inode: dict[Inode, list[FileHandle]] = {}

    def open_by(self, inode: Inode) -> Iterator[OpenFile]:
        """The files that are open by ``inode``, as the kernel means it now: those opened before it
        became another file cannot be used any more."""
        handles = self._by_inode.get(inode, ())
        now = inode.generation
        return iter([handle.file for handle in handles if handle.generation == now])

    async def open(self, number: int, names: Names, ahead: Ahead, *, direct: bool) -> Opened:
        """Open for reading what is at the inode's path now, if that is still the inode's file."""
        inode = self._inodes.get(number)
        if inode.kind is FileKind.DIRECTORY:
            raise IsADirectory(inode.path)
        await names.moves.confirm(inode)
        before = record_of(inode.attr)
        try:
            found = await self._find(inode, names, ahead, direct=direct)
        except NotFound as gone:
            raise Stale(f"{inode.path!r} is gone") from gone
        file = found.file
        try:
            if found.asked is not None:
                inode.linked = file.is_followed
                await names.accept(inode, file.attr, found.asked, final=True)
            if found.new and (whole := file.whole) is not None:
                await self._contents.cache.keep(file.attr, inode.path, whole)
            settled = self._keeping and (found.settled or self._is_settled(inode, file.attr))
            handle = FileHandle(inode, file, settled, direct or not self._keeping, inode.generation)
            if not found.later:
                await self._begin_reading(handle)
        except BaseException:
            await file.aclose()
            raise
        keep = inode.keeps_pages(file.attr, trio.current_time())
        if settled:
            inode.pages = file.attr
        else:
            inode.pages = None
        if settled and not inode.linked:
            self._opened.note(number, file.attr, inode.place)
        else:
            self._opened.forget(number)
        self._by_inode.setdefault(inode, []).append(handle)
        if not file.is_held:
            self._holding.add(file)
        return Opened(self.handles.add(handle), keep, before != record_of(file.attr))

    async def _find(self, inode: Inode, names: Names, ahead: Ahead, *, direct: bool) -> _Found:
        """The file as the server has it, or as it is known to be."""
        path = inode.path
        if not direct and self._keeping:
            if inode.parent is not None:
                self._watches.use(inode.parent)
            ahead.use_file(inode)
            fetched = await ahead.take(inode)
            is_known = names.may_open_unasked(inode) and self._opened.knows(
                inode.number, inode.attr, inode.place
            )
            if (
                fetched is not None
                and fetched.checked
                and self._is_settled(inode, fetched.attr, fetched.asked)
            ):
                file = self._later(inode, path, fetched.attr, fetched.head)
                return _Found(file, fetched.asked, new=not fetched.stored, settled=True)
            if is_known:
                same = fetched is not None and fetched.attr == inode.attr
                head = fetched.head if fetched is not None and same else None
                return _Found(self._later(inode, path, inode.attr, head), None, settled=True)
            if self._namespace.leasing and not trust.has_watch(inode):
                return await self._open_with_bytes(inode, path, known=inode.attr)
            if inode.attr.size <= SMALL and not self.is_open(inode):
                return await self._open_with_bytes(inode, path, known=None)
        asked = trio.current_time()
        file = await self._namespace.open(path, on_break=self._on_break(inode))
        return _Found(file, asked, later=False)

    async def _open_with_bytes(self, inode: Inode, path: str, *, known: FileAttr | None) -> _Found:
        """Open it, a small file with its bytes, from the disk cache if they are there. A handle
        that is leased as what is ``known`` of it is shared, and asks nobody. What may change once
        more without a trace is read when somebody reads it."""
        before, stored = inode.attr, None
        is_small = before.size <= SMALL
        wanted = is_small and before.size > 0 and inode.pages is None  # or the kernel has the bytes
        if wanted:
            (stored,) = await self._contents.cache.recall([(before, path)])
        asked = trio.current_time()
        file = await self._namespace.open(
            path,
            head=SMALL if wanted and stored is None else 0,
            known=known,
            on_break=self._on_break(inode),
        )
        if file.asked < asked:
            return _Found(file, None)
        if not self._is_settled(inode, file.attr, asked):
            file.drop_head()
            return _Found(file, asked, later=False)
        is_new = file.whole is not None
        if stored is not None and same_content(record_of(before), file.attr):
            file.take_head(stored)
        elif not file.attr.size:
            file.take_head(memoryview(b""))
        return _Found(file, asked, new=is_new, later=is_small, settled=True)

    def _on_break(self, inode: Inode) -> Callable[[], None]:
        def broken() -> None:
            """Another client is about to change the file, or has done so."""
            inode.attr_until = 0.0
            if inode.parent is not None:
                self._told(inode.parent, [Change(inode.name, ChangeKind.MODIFIED)])

        return broken

    def _is_settled(self, inode: Inode, attr: FileAttr, asked: float | None = None) -> bool:
        """Whether the file, found as ``attr``, had been left alone for a while when the server was
        ``asked`` for it, or now: else it may change once more, in the same tick of its clock."""
        now = trio.current_time()
        then = now if asked is None else asked
        known, sight = inode.attr, Sight()
        if (attr.write, attr.change, attr.size) == (known.write, known.change, known.size):
            lasting = then - inode.same_since
            if lasting > racy_for(attr):  # so it is mostly, and no clock is needed
                return True
            sight = Sight(lasting, now - inode.moved_after)
        elif inode.same_since < math.inf:
            sight = Sight(moved=now - inode.known_at)
        return is_settled(attr, self._server_time(), sight, ago=now - then)

    def _later(self, inode: Inode, path: str, attr: FileAttr, head: memoryview | None) -> OpenFile:
        def opened(now: FileAttr) -> None:
            """It was opened on the server after all, as ``now``."""
            if not same_content(record_of(inode.attr), now):
                inode.attr_until = 0.0
                self._contents.retire(inode.number)

        return self._namespace.open_later(path, attr, head, opened)

    def is_open(self, inode: Inode) -> bool:
        """Whether anybody has the file open here."""
        return inode in self._by_inode

    async def _begin_reading(self, handle: FileHandle) -> NetfsFile:
        """Open the content behind the handle."""
        async with handle.lock:
            if handle.reader is None:
                inode, file = handle.inode, handle.file
                if not self._keeping or not self._is_current(handle):
                    file.drop_head()
                    content = self._contents.stale(file.attr, inode.path)
                else:
                    content = await self._contents.acquire(
                        inode.number, file.attr, inode.path, settled=handle.settled
                    )
                handle.content, handle.reader = content, content.netfs.open(file)
            return handle.reader

    def _is_current(self, handle: FileHandle) -> bool:
        """Whether the handle's file has not changed since it was opened, as far as we know."""
        now, then = handle.inode.attr, handle.file.attr
        return now is then or same_content(record_of(then), now)

    async def read(self, fh: int, start: int, size: int) -> memoryview | bytes:
        """The bytes; fewer than ``size`` only at the end of the file.

        The end is where the kernel was told last that it is. A shorter answer means that the file
        has grown since the handle was opened: then it is asked of the server; or that it has
        shrunk: the kernel would fill up its pages with zeros, and with several reads under way take
        the wrong one's end for the size, so it gets Shrunk.
        """
        handle = self.handles.get(fh)
        stated = handle.inode.attr.size

        def ends_well(got: int) -> bool:
            largest = max(stated, handle.inode.attr.size)
            return is_sound_end(start, size, got, largest, direct=handle.direct)

        reader = handle.reader
        if reader is None:
            whole = handle.file.whole
            if whole is not None and self._is_current(handle):
                answer: memoryview | bytes = whole[start : start + size]
                if ends_well(len(answer)):
                    self._stats.reads += 1
                    self._stats.bytes += len(answer)
                    return answer
            reader = await self._begin_reading(handle)
        content = handle.content
        assert content is not None
        if content.netfs.retired:
            handle.file.drop_head()
        answer = await reader.read(start, size)
        if not ends_well(len(answer)):
            content.netfs.retire()
            handle.file.drop_head()
            answer = await reader.read(start, size)
        if not ends_well(len(answer)):
            handle.inode.attr_until = 0.0
            if not handle.direct:
                raise Shrunk(f"{handle.inode.path!r} ends at {start + len(answer)} or before")
        return answer

    async def release(self, handle: FileHandle) -> None:
        """Close a handle that was taken out of the table."""
        self._closed(handle)
        if handle.content is None:
            self._contents.cache.use(handle.file.attr, handle.inode.path)
        try:
            if handle.reader is not None:
                await handle.reader.aclose()
        finally:
            try:
                await handle.file.aclose()
            finally:
                if handle.content is not None:
                    await self._contents.release(handle.inode.number, handle.content)

    def _closed(self, handle: FileHandle) -> None:
        self._holding.discard(handle.file)
        handles = self._by_inode[handle.inode]
        handles.remove(handle)
        if not handles:
            del self._by_inode[handle.inode]

    async def aclose(self) -> None:
        """Close all handles: nobody waits for their reads, and the server's end with the session.
        What has arrived is still stored."""
        for fh in self.handles.numbers():
            handle = self.handles.pop(fh)
            if handle is None:
                continue
            self._closed(handle)
            if handle.content is None or handle.reader is None:
                continue
            with trio.CancelScope() as scope:
                scope.cancel()
                await handle.reader.aclose()
            await self._contents.release(handle.inode.number, handle.content)
