"""The handlers of files that are made, written, cut and closed.

Those that wait for data to move have no deadline of their own: what they wait for gives up when
nothing has moved for a while.
"""

from __future__ import annotations

import errno
import os

import pyfuse3
from pyfuse3 import (
    EntryAttributes,
    FileHandleT,
    FileInfo,
    FileNameT,
    FlagT,
    InodeT,
    ModeT,
    RequestContext,
    SetattrFields,
)

from netfsfuse.config import ShownConfig
from netfsfuse.errors import ReadOnly
from netfsfuse.fuse.attrs import entry_of
from netfsfuse.fuse.backlog import Backlog, counted
from netfsfuse.fuse.deadlines import Deadlines
from netfsfuse.fuse.guard import patient, prompt
from netfsfuse.stats import Stats
from netfsfuse.vfs.files.file_writes import Flags
from netfsfuse.vfs.filesystem import FileSystem
from netfsfuse.vfs.inodes.inodes import Inode


class FileChanges(pyfuse3.Operations):
    """A part of ``Operations``, which has what is declared here. ``is_read_only``, to be set before
    the first call: nothing is written here."""

    is_read_only = False
    stats: Stats
    deadlines: Deadlines
    backlog: Backlog
    _filesystem: FileSystem
    _shown: ShownConfig

    def _entry(self, inode: Inode) -> EntryAttributes:
        if inode.written is not None:
            inode.written.told(inode.attr.size)
        return entry_of(inode, self._shown, self._filesystem.attr_timeout(inode))

    def _info(self, opened_fh: int, *, keep_cache: bool, flags: int) -> FileInfo:
        """A handle that only writes goes past the kernel's pages: then each write(2) costs no
        question for an attribute, and is as large as the program made it."""
        only_writes = flags & os.O_ACCMODE == os.O_WRONLY
        return FileInfo(
            fh=FileHandleT(opened_fh),
            keep_cache=keep_cache,
            direct_io=only_writes or self._filesystem.trust.mode == "none",
        )

    def _check_writable(self, flags: int) -> None:
        """The kernel does that, but for a mount that was made writable behind our back: its writers
        would not be told of errors, for nothing is flushed."""
        if self.is_read_only and flags & os.O_ACCMODE:
            raise ReadOnly("the mount is read-only")

    @patient
    async def create(
        self, parent_inode: InodeT, name: FileNameT, mode: ModeT, flags: FlagT, ctx: RequestContext
    ) -> tuple[FileInfo, EntryAttributes]:
        self._check_writable(os.O_WRONLY)
        filesystem = self._filesystem
        inode, opened = await filesystem.create(
            parent_inode, name, Flags.of(flags), exclusive=bool(flags & os.O_EXCL)
        )
        try:
            entry = self._entry(inode)
            inode.nlookup += 1
        finally:
            filesystem.inodes.discard_unknown(inode)
        return self._info(opened.fh, keep_cache=opened.keep_cache, flags=flags), entry

    @patient
    @counted
    async def write(self, fh: FileHandleT, off: int, buf: bytes) -> int:
        await self._filesystem.write(fh, off, buf)
        return len(buf)

    @patient
    async def flush(self, fh: FileHandleT) -> None:
        if self.is_read_only:
            # The kernel asks no more: a close succeeds all the same, and costs no request.
            raise pyfuse3.FUSEError(errno.ENOSYS)
        await self._filesystem.flush(fh)

    @patient
    async def fsync(self, fh: FileHandleT, datasync: bool) -> None:
        await self._filesystem.fsync(fh)

    @prompt
    async def release(self, fh: FileHandleT) -> None:
        await self._filesystem.let_go(fh)

    @patient
    async def setattr(
        self,
        inode: InodeT,
        attr: EntryAttributes,
        fields: SetattrFields,
        fh: FileHandleT | None,
        ctx: RequestContext,
    ) -> EntryAttributes:
        changed = await self._filesystem.setattr(
            inode,
            size=attr.st_size if fields.update_size else None,
            access=attr.st_atime_ns if fields.update_atime else None,
            write=attr.st_mtime_ns if fields.update_mtime else None,
            mode=attr.st_mode if fields.update_mode else None,
        )
        return self._entry(changed)
