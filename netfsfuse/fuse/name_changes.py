"""The handlers of names that are made, removed and renamed, and of what servers cannot hold."""

from __future__ import annotations

import errno
from typing import Any

import pyfuse3
from pyfuse3 import EntryAttributes, FileNameT, InodeT, ModeT, RequestContext

from netfsfuse.fuse.file_changes import FileChanges
from netfsfuse.fuse.guard import guarded, prompt


class NameChanges(FileChanges):
    """A part of ``Operations``."""

    @guarded
    async def mkdir(
        self, parent_inode: InodeT, name: FileNameT, mode: ModeT, ctx: RequestContext
    ) -> EntryAttributes:
        inode = await self._filesystem.mutations.mkdir(parent_inode, name)
        try:
            entry = self._entry(inode)
            inode.nlookup += 1
        finally:
            self._filesystem.inodes.discard_unknown(inode)
        return entry

    @guarded
    async def rmdir(self, parent_inode: InodeT, name: FileNameT, ctx: RequestContext) -> None:
        await self._filesystem.mutations.rmdir(parent_inode, name)

    @guarded
    async def unlink(self, parent_inode: InodeT, name: FileNameT, ctx: RequestContext) -> None:
        await self._filesystem.mutations.unlink(parent_inode, name)

    @guarded
    async def rename(
        self,
        parent_inode_old: InodeT,
        name_old: FileNameT,
        parent_inode_new: InodeT,
        name_new: FileNameT,
        flags: int,
        ctx: RequestContext,
    ) -> None:
        await self._filesystem.mutations.rename(
            parent_inode_old, name_old, parent_inode_new, name_new, flags
        )

    # -- what the server has no room for: as cifs without Unix extensions ----------------------

    @prompt
    async def _not_permitted(self, *arguments: Any) -> Any:
        raise pyfuse3.FUSEError(errno.EPERM)

    @prompt
    async def _not_supported(self, *arguments: Any) -> Any:
        raise pyfuse3.FUSEError(errno.EOPNOTSUPP)

    mknod: Any = _not_permitted
    symlink: Any = _not_supported
    link: Any = _not_permitted
    setxattr: Any = _not_supported
    removexattr: Any = _not_supported
