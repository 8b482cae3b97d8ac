"""Open files as the kernel holds them: one handle for each open(2), by number and by inode."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field

import trio

from netfsfuse.netfs import NetfsFile
from netfsfuse.vfs.contents import Content
from netfsfuse.vfs.files.written import WrittenFile
from netfsfuse.vfs.inodes.handles import HandleTable
from netfsfuse.vfs.inodes.inodes import Inode
from netfsfuse.vfs.ops import OpenFile


@dataclass(frozen=True, slots=True)
class Writes:
    """How a handle writes. ``append``: at the end of the file, wherever the kernel takes that to
    be. ``through``: each write is answered when the server has it (O_SYNC, O_DSYNC, O_DIRECT)."""

    append: bool = False
    through: bool = False


@dataclass(slots=True, eq=False)
class FileHandle:
    """One open(2) of a file: the server's handle, its reader, and the content that it shares. A
    file of which nothing was at hand when it was opened may get the latter two when it is read.

    ``generation``: the inode's when it was opened. ``settled``: what is read may be kept.
    ``direct``: it was opened with O_DIRECT, so that answers go past the kernel's pages. ``lock``:
    one reader begins. ``written``: the file is open for writing, and this is one of its users;
    then ``file`` is its server handle, and neither that nor the content is this handle's to close.
    ``errors_seen``: the errors of writes that it knows of (``ErrSeq``). ``flushed``: a descriptor
    of it was closed since it was opened or written to, maybe the last: the kernel tells that later.
    """

    inode: Inode
    file: OpenFile
    settled: bool
    direct: bool = False
    generation: int = 0
    content: Content | None = None
    reader: NetfsFile | None = None
    lock: trio.Lock = field(default_factory=trio.Lock)
    written: WrittenFile | None = None
    writes: Writes | None = None
    errors_seen: int = 0
    flushed: bool = False

    @property
    def closes_at_once(self) -> bool:
        """Whether closing it waits for nothing, neither for the server nor for what it reads."""
        reader, content = self.reader, self.content
        return (
            self.written is None
            and self.file.closes_at_once
            and (reader is None or reader.closes_at_once)
            and (content is None or content.netfs.closes_at_once)
        )


class FileHandles:
    """All open files. A handle that was taken out by its number is open until :meth:`closed`."""

    def __init__(self) -> None:
        self._by_number: HandleTable[FileHandle] = HandleTable()
        self._by_inode: dict[Inode, list[FileHandle]] = {}
        self._waited: trio.Event | None = None

    def __len__(self) -> int:
        return len(self._by_number)

    def add(self, handle: FileHandle) -> int:
        """The file is open; returns the number by which the kernel is to know it."""
        self._by_inode.setdefault(handle.inode, []).append(handle)
        return self._by_number.add(handle)

    def get(self, number: int) -> FileHandle:
        """The handle. Raises Stale for one that is closed."""
        return self._by_number.get(number)

    def pop(self, number: int) -> FileHandle | None:
        """Take out what the kernel has let go of; None if that was done."""
        return self._by_number.pop(number)

    def numbers(self) -> list[int]:
        """Of all that the kernel holds."""
        return self._by_number.numbers()

    def closed(self, handle: FileHandle) -> None:
        """The file is open by ``handle`` no more."""
        handles = self._by_inode[handle.inode]
        handles.remove(handle)
        if not handles:
            del self._by_inode[handle.inode]
            if self._waited is not None:
                self._waited.set()
                self._waited = None

    async def wait_closed(self, directory: Inode, name: str) -> None:
        """Return when no file that was found by ``name``, or below it, may be closed already though
        the kernel has not told so yet."""
        while any(
            inode.is_at(directory, name) and all(handle.flushed for handle in handles)
            for inode, handles in self._by_inode.items()
        ):
            if self._waited is None:
                self._waited = trio.Event()
            await self._waited.wait()

    def is_open(self, inode: Inode) -> bool:
        """Whether a program has the file open here."""
        return inode in self._by_inode

    def files_of(self, inode: Inode) -> Iterator[OpenFile]:
        """The files that are open by ``inode``, as the kernel means it now: those opened before it
        became another file cannot be used any more."""
        handles = self._by_inode.get(inode, ())
        now = inode.generation
        return iter([handle.file for handle in handles if handle.generation == now])
