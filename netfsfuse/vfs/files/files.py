"""Open files: what an open makes of what was found, where reads go, and how a file is closed.
Raises ``NetfsError`` only.

How a file is opened is in ``opening.py``. The directory of a file that is opened is watched from
then on, so that the next open may come from memory. What is at hand is all of a small file mostly:
it prefills the file's content in ``netfs``, so that no object is opened on disk; it is stored
whole, behind the reader.

An open file goes on as what it was, whatever its path leads to: it is asked by its handle.
"""

from __future__ import annotations

import trio

from netfsfuse.errors import IsADirectory, NotFound, Shrunk, Stale
from netfsfuse.netfs import NetfsFile
from netfsfuse.types import FileKind
from netfsfuse.types import coherency_of as record_of
from netfsfuse.vfs.contents import Contents
from netfsfuse.vfs.files.evidence import Evidence
from netfsfuse.vfs.files.file_writes import FileWrites, Flags
from netfsfuse.vfs.files.handle import FileHandle
from netfsfuse.vfs.files.holding import Holding
from netfsfuse.vfs.files.opened import Opened
from netfsfuse.vfs.files.opening import Openings
from netfsfuse.vfs.files.written import WrittenFile
from netfsfuse.vfs.inodes.identity import is_sound_end
from netfsfuse.vfs.inodes.inodes import InodeTable


class Files:
    """Opens, reads and closes. Without ``keeping`` every read asks the server. ``holding`` is told
    of files that no handle holds on the server."""

    def __init__(
        self,
        inodes: InodeTable,
        contents: Contents,
        evidence: Evidence,
        openings: Openings,
        holding: Holding,
        writes: FileWrites,
        *,
        keeping: bool,
    ) -> None:
        self._inodes = inodes
        self._contents = contents
        self._names = evidence.names
        self._judge = evidence.judge
        self._opened = evidence.judge.opened
        self._handles = evidence.handles
        self._openings = openings
        self._holding = holding
        self._writes = writes
        self._keeping = keeping

    async def open(self, number: int, flags: Flags) -> Opened:
        """Open what is at the inode's path now, if that is still the inode's file."""
        inode = self._inodes.get(number)
        if inode.kind is FileKind.DIRECTORY:
            raise IsADirectory(inode.path)
        if flags.writes or flags.truncates:
            return await self._writes.open(inode, flags)
        if self._writes.concerns(inode):
            joined = await self._writes.join(inode, flags)
            if joined is not None:
                return joined
        direct = flags.direct
        await self._names.former_names.confirm(inode)
        before = record_of(inode.attr)
        try:
            found = await self._openings.find(inode, direct=direct)
        except NotFound as gone:
            raise Stale(f"{inode.path!r} is gone") from gone
        file = found.file
        try:
            if found.as_of is not None:
                inode.linked = file.is_followed
                await self._names.accept(inode, file.attr, found.as_of, final=True)
            if found.new and found.data is not None:
                await self._contents.cache.store_whole(file.attr, inode.path, found.data)
            settled = self._keeping and (
                found.settled or self._openings.is_settled(inode, file.attr)
            )
            handle = FileHandle(inode, file, settled, direct or not self._keeping, inode.generation)
            if found.data is not None and settled and self._is_current(handle):
                self._begin_at_hand(handle, found.data)
            elif found.is_read:
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
        if not file.is_held:
            self._holding.add(file)
        return Opened(self._handles.add(handle), keep, before != record_of(file.attr))

    def _begin_at_hand(self, handle: FileHandle, data: memoryview) -> None:
        """As ``_begin_reading``, with all of the file at hand."""
        inode, file = handle.inode, handle.file
        content = self._contents.prefilled(inode.number, file.attr, inode.path, data)
        handle.content, handle.reader = content, content.netfs.open(file)

    async def _begin_reading(self, handle: FileHandle) -> NetfsFile:
        """Open the content behind the handle."""
        async with handle.lock:
            if handle.reader is None:
                inode, file = handle.inode, handle.file
                if not self._keeping or not self._is_current(handle):
                    content = self._contents.stale(file.attr, inode.path)
                else:
                    content = await self._contents.acquire(
                        inode.number, file.attr, inode.path, settled=handle.settled
                    )
                handle.content, handle.reader = content, content.netfs.open(file)
            return handle.reader

    def _is_current(self, handle: FileHandle) -> bool:
        """Whether the handle's file has not changed since it was opened, as far as we know."""
        return self._judge.current(handle.inode, handle.file.attr)

    async def read(self, fh: int, start: int, size: int) -> memoryview | bytes:
        """The bytes; fewer than ``size`` only at the end of the file.

        The end is where the kernel was told last that it is. A shorter answer means that the file
        has grown since the handle was opened: then it is asked of the server; or that it has
        shrunk: the kernel would fill up its pages with zeros, and with several reads under way take
        the wrong one's end for the size, so it gets Shrunk.
        """
        handle = self._handles.get(fh)
        if handle.inode.written is not None and handle.generation == handle.inode.generation:
            return await self._read_written(handle, start, size)
        stated = handle.inode.attr.size
        reader = handle.reader or await self._begin_reading(handle)
        answer = await reader.read(start, size)
        if not _ends_well(handle, start, size, len(answer), stated):
            assert handle.content is not None
            handle.content.netfs.retire()
            answer = await reader.read(start, size)
        if not _ends_well(handle, start, size, len(answer), stated):
            handle.inode.attr_until = 0.0
            if not handle.direct:
                raise Shrunk(f"{handle.inode.path!r} ends at {start + len(answer)} or before")
        return answer

    async def _read_written(self, handle: FileHandle, start: int, size: int) -> memoryview | bytes:
        """As :meth:`read`, of a file that is open for writing here: as it is here, whichever handle
        is asked."""
        written = handle.inode.written
        assert isinstance(written, WrittenFile)
        stated = handle.inode.attr.size
        answer = await written.read(handle.reader, start, size)
        if not _ends_well(handle, start, size, len(answer), stated):
            handle.inode.attr_until = 0.0
            if not handle.direct:
                raise Shrunk(f"{handle.inode.path!r} ends at {start + len(answer)} or before")
        return answer

    def read_now(self, fh: int, start: int, size: int) -> memoryview | bytes | None:
        """As :meth:`read`, where the bytes are at hand; None where it must be asked."""
        handle = self._handles.get(fh)
        if handle.reader is None or handle.inode.written is not None:
            return None
        answer = handle.reader.read_now(start, size)
        if answer is None or _ends_well(handle, start, size, len(answer), handle.inode.attr.size):
            return answer
        return None

    async def release(self, handle: FileHandle) -> None:
        """Close a handle that was taken out of the table."""
        if handle.written is not None:
            await self._writes.release(handle)
            return
        self._holding.discard(handle.file)
        self._handles.closed(handle)
        if handle.content is None or handle.content.netfs.prefill is not None:
            self._contents.cache.mark_used(handle.file.attr, handle.inode.path)
        try:
            if handle.reader is not None:
                await handle.reader.aclose()
        finally:
            try:
                await handle.file.aclose()
            finally:
                if handle.content is not None:
                    await self._contents.release(handle.inode.number, handle.content)

    async def aclose(self) -> None:
        """Close all handles: no caller waits for their reads, and the server's end with the
        session. What has arrived is still stored."""
        for fh in self._handles.numbers():
            handle = self._handles.pop(fh)
            if handle is None:
                continue
            if handle.written is not None:
                await self._writes.release(handle)
                continue
            self._holding.discard(handle.file)
            self._handles.closed(handle)
            if handle.content is None or handle.reader is None:
                continue
            with trio.CancelScope() as scope:
                scope.cancel()
                await handle.reader.aclose()
            await self._contents.release(handle.inode.number, handle.content)


def _ends_well(handle: FileHandle, start: int, size: int, got: int, stated: int) -> bool:
    """Whether an answer of ``got`` bytes may be as short as it is. ``stated``: what the kernel may
    have been told of the file's end when it asked."""
    largest = max(stated, handle.inode.attr.size)
    return is_sound_end(start, size, got, largest, direct=handle.direct)
