"""The calls of handles that write, and of those that read a file which is open for writing.

A handle is one of the users of its file's :class:`~netfsfuse.vfs.files.written.WrittenFile`. An
error of what was written behind its back is told to each handle that was open then, once: at its
next write, fsync or close.
"""

from __future__ import annotations

import os
from dataclasses import dataclass

import trio

from netfsfuse.config import WriteConfig
from netfsfuse.errors import AccessDenied, IsADirectory, Stale
from netfsfuse.types import FileKind
from netfsfuse.types import coherency_of as record_of
from netfsfuse.vfs.files.evidence import Evidence
from netfsfuse.vfs.files.handle import FileHandle, Writes
from netfsfuse.vfs.files.opened import Opened
from netfsfuse.vfs.files.writers import Writers
from netfsfuse.vfs.files.written import WrittenFile
from netfsfuse.vfs.inodes.inodes import Inode

_THROUGH = os.O_SYNC | os.O_DSYNC | os.O_DIRECT


@dataclass(frozen=True, slots=True)
class Flags:
    """What an open asks for."""

    writes: bool
    reads: bool = True
    truncates: bool = False
    direct: bool = False
    append: bool = False
    through: bool = False

    @classmethod
    def of(cls, flags: int) -> Flags:
        """From open(2)'s."""
        writes = bool(flags & os.O_ACCMODE)
        return cls(
            writes=writes,
            reads=flags & os.O_ACCMODE != os.O_WRONLY,
            truncates=bool(flags & os.O_TRUNC),
            direct=bool(flags & os.O_DIRECT),
            append=bool(flags & os.O_APPEND),
            through=bool(flags & _THROUGH),
        )


READING = Flags(writes=False)
"""An open for reading, and nothing else."""


class FileWrites:
    """``writers`` has the files that are open for writing."""

    def __init__(self, writers: Writers, evidence: Evidence, config: WriteConfig) -> None:
        self._writers = writers
        self._handles = evidence.handles
        self._opened = evidence.judge.opened
        self._names = evidence.names
        self._config = config

    async def open(self, inode: Inode, flags: Flags) -> Opened:
        """Open a file that exists for writing, or cut it to nothing."""
        if inode.kind is FileKind.DIRECTORY:
            raise IsADirectory(inode.path)
        await self._names.former_names.confirm(inode)
        before = record_of(inode.attr)
        written = await self._writers.open(inode, truncate=flags.truncates)
        await self._check(written, flags)
        # The kernel knows no creation time, and Samba makes another one up for a file that is first
        # opened for writing.
        return self._add(written, flags, changed=before[2:] != record_of(written.opened_as)[2:])

    async def create(
        self, directory: Inode, name: str, flags: Flags, *, exclusive: bool
    ) -> tuple[Inode, Opened]:
        """Open ``name`` in ``directory``, made if there is none. The caller counts the look-up once
        the kernel is told, or calls ``inodes.discard_unknown``."""
        written = await self._writers.create(directory, name, exclusive=exclusive)
        await self._check(written, flags)
        try:
            if flags.truncates:
                await written.empty()
        except BaseException:
            await self._writers.release(written)
            raise
        return written.inode, self._add(written, flags, changed=False)

    async def _check(self, written: WrittenFile, flags: Flags) -> None:
        """Raise AccessDenied, and be no user of the file, if it is to be read and may not be."""
        if flags.reads and not written.file.may_read:
            await self._writers.release(written)
            raise AccessDenied(f"{written.inode.path!r} may be written, and not read")

    def concerns(self, inode: Inode) -> bool:
        """Whether the file is open for writing here, or is being closed after it was."""
        return inode in self._writers

    async def join(self, inode: Inode, flags: Flags) -> Opened | None:
        """Open for reading a file that is open for writing here, as it is here; no message. None
        where it is not, or cannot be read so: one that is being closed is waited for."""
        await self._writers.settle(inode)
        written = self._writers.join(inode)
        return None if written is None else self._add(written, flags, changed=False)

    def _add(self, written: WrittenFile, flags: Flags, *, changed: bool) -> Opened:
        inode = written.inode
        through = flags.through or self._config.sync
        direct = flags.direct or not self._writers.keeping
        handle = FileHandle(
            inode, written.file, written.is_behind, direct, inode.generation, written=written
        )
        if flags.writes:
            handle.writes = Writes(append=flags.append, through=through)
        handle.errors_seen = written.writing.errors.sample()
        if written.file.may_read:
            handle.content = written.content
            handle.reader = written.content.netfs.open(written.file)
        keep = written.is_behind and inode.keeps_pages(written.opened_as, trio.current_time())
        inode.pages = written.opened_as if written.is_behind else None
        self._opened.forget(inode.number)
        return Opened(self._handles.add(handle), keep, changed)

    async def write(self, fh: int, start: int, data: bytes) -> None:
        """Write all of ``data`` at ``start``."""
        handle = self._handles.get(fh)
        written, writes = handle.written, handle.writes
        if written is None or writes is None:
            raise Stale(f"file handle {fh} is not open for writing")
        self._raise_latched(handle)
        handle.flushed = False
        await written.write(start, data, append=writes.append, through=writes.through)

    async def flush(self, fh: int) -> None:
        """A descriptor of the handle is closed: the server has what was written."""
        handle = self._handles.get(fh)
        handle.flushed = True
        if handle.written is None or handle.writes is None:
            return
        if self._config.close_waits:
            await handle.written.drain()
        self._raise_latched(handle)

    async def fsync(self, fh: int) -> None:
        """The server has what was written, and unless ``nostrictsync`` on its disk."""
        handle = self._handles.get(fh)
        if handle.written is None:
            return
        if self._config.strict_sync:
            await handle.written.flush()
        else:
            await handle.written.drain()
        self._raise_latched(handle)

    def _raise_latched(self, handle: FileHandle) -> None:
        written = handle.written
        if written is not None:
            handle.errors_seen, error = written.writing.errors.check(handle.errors_seen)
            if error is not None:
                self._writers.forget_pages(handle.inode)
                raise error

    async def truncate(self, inode: Inode, size: int) -> bool:
        """Cut a file that is open for writing at ``size`` bytes, or extend it; False where it is
        not open."""
        await self._writers.settle(inode)
        written = inode.written
        if not isinstance(written, WrittenFile):
            return False
        await written.truncate(size)
        return True

    async def set_times(self, inode: Inode, *, access: int | None, write: int | None) -> bool:
        """Set times (ns since 1970) of a file that is open for writing; False where it is not."""
        await self._writers.settle(inode)
        written = inode.written
        if not isinstance(written, WrittenFile):
            return False
        await written.set_times(access=access, write=write)
        return True

    async def release(self, handle: FileHandle) -> None:
        """Close a handle that was taken out of the table. Its data may be mapped still and come
        after its last flush, so all of it is sent here."""
        self._handles.closed(handle)
        try:
            if handle.reader is not None:
                await handle.reader.aclose()
        finally:
            if handle.written is not None:
                await self._writers.release(handle.written)
