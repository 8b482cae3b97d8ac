"""The handlers that pyfuse3 calls: each hands over to ``vfs`` and translates the answer."""

from __future__ import annotations

import errno
import logging
from collections.abc import Callable, Sequence
from typing import Any

import pyfuse3
from pyfuse3 import FileHandleT, FileInfo, FileNameT, FlagT, InodeT, RequestContext

from netfsfuse.config import ShownConfig
from netfsfuse.errors import NameTooLong, NotFound, Shrunk
from netfsfuse.fuse.attrs import (
    encode_name,
    encode_target,
    negative_entry,
    statvfs_of,
)
from netfsfuse.fuse.backlog import Backlog
from netfsfuse.fuse.deadlines import Deadlines
from netfsfuse.fuse.guard import DEADLINE, guarded, guarded_after, never_raises, prompt
from netfsfuse.fuse.name_changes import NameChanges
from netfsfuse.stats import Stats
from netfsfuse.types import DirEntry
from netfsfuse.vfs.files.file_writes import Flags
from netfsfuse.vfs.filesystem import FileSystem
from netfsfuse.vfs.inodes.inodes import Inode
from netfsfuse.vfs.xattrs import ExtendedAttributes

log = logging.getLogger(__name__)

_PATH_MAX = 4096
_FIRST_ENTRY = 2  # readdir offsets 1 and 2 lie behind "." and ".."


class Operations(NameChanges):
    """Answers the kernel's calls. ``describe`` returns what ``netfsfuse stats`` shows, ``locate``
    where a file of that inode number is cached, ``absent`` for how long the kernel may believe that
    a directory does not hold a name, of at most so many seconds; ``renewed`` hears of the inodes of
    which an open has told the kernel that attributes and pages are old."""

    supports_dot_lookup = False
    enable_writeback_cache = False
    enable_acl = False

    def __init__(
        self,
        filesystem: FileSystem,
        shown: ShownConfig,
        stats: Stats,
        describe: Callable[[], dict[str, Any]],
        locate: Callable[[int], dict[str, str] | None] = lambda _: None,
        absent: Callable[[int, bytes, float], float] = lambda _directory, _name, lifetime: lifetime,
        renewed: Callable[[int], None] = lambda _number: None,
    ) -> None:
        super().__init__()
        self.stats = stats
        self.deadlines = Deadlines(DEADLINE, filesystem.progress)
        self.backlog = Backlog()
        self._filesystem = filesystem
        self._shown = shown
        self._xattrs = ExtendedAttributes(filesystem.inodes, filesystem.feeds, describe, locate)
        self._absent = absent
        self._renewed = renewed

    # -- names and attributes -----------------------------------------------------------------

    @guarded
    async def lookup(
        self, parent_inode: InodeT, name: FileNameT, ctx: RequestContext
    ) -> pyfuse3.EntryAttributes:
        try:
            inode = await self._filesystem.lookup(parent_inode, name)
        except NotFound:
            lifetime = self._filesystem.trust.acdirmax
            return negative_entry(self._absent(parent_inode, name, lifetime))
        try:
            entry = self._entry(inode)
            inode.nlookup += 1
        finally:
            self._filesystem.inodes.discard_unknown(inode)
        return entry

    @never_raises
    async def forget(self, inode_list: Sequence[tuple[InodeT, int]]) -> None:
        for number, nlookup in inode_list:
            self._filesystem.forget(number, nlookup)

    @guarded
    async def getattr(self, inode: InodeT, ctx: RequestContext) -> pyfuse3.EntryAttributes:
        return self._entry(await self._filesystem.getattr(inode))

    @prompt
    async def readlink(self, inode: InodeT, ctx: RequestContext) -> FileNameT:
        target = encode_target(self._filesystem.readlink(inode))
        if len(target) >= _PATH_MAX:  # the kernel has no room for it
            raise NameTooLong(f"a link to {len(target)} bytes")
        return FileNameT(target)

    @guarded
    async def statfs(self, ctx: RequestContext) -> pyfuse3.StatvfsData:
        return statvfs_of(await self._filesystem.statfs())

    @prompt
    async def getxattr(self, inode: InodeT, name: bytes, ctx: RequestContext) -> bytes:
        return self._xattrs.get(inode, name)

    @prompt
    async def listxattr(self, inode: InodeT, ctx: RequestContext) -> Sequence[bytes]:
        return ()

    # -- files --------------------------------------------------------------------------------

    @guarded
    async def open(self, inode: InodeT, flags: FlagT, ctx: RequestContext) -> FileInfo:
        self._check_writable(flags)
        opened = await self._filesystem.open(inode, Flags.of(flags))
        if opened.attributes_changed:
            try:
                _invalidate_attributes(inode)
            except OSError:
                await self._filesystem.release(opened.fh)  # the kernel will not know of it
                raise
            if not opened.keep_cache:
                self._renewed(inode)
        return self._info(opened.fh, keep_cache=opened.keep_cache, flags=flags)

    def _read_now(self, fh: FileHandleT, off: int, size: int) -> bytes | None:
        # A memoryview of the receive buffer: pyfuse3 takes any buffer and writes it uncopied.
        return self._filesystem.read_now(fh, off, size)  # type: ignore[return-value]

    @guarded_after(_read_now)
    async def read(self, fh: FileHandleT, off: int, size: int) -> bytes:
        try:
            return await self._filesystem.read(fh, off, size)  # type: ignore[return-value]
        except Shrunk:
            _invalidate_attributes(InodeT(self._filesystem.file_inode(fh).number))
            raise

    # -- directories --------------------------------------------------------------------------

    @guarded
    async def opendir(self, inode: InodeT, ctx: RequestContext) -> FileHandleT:
        return FileHandleT(await self._filesystem.opendir(inode))

    @guarded
    async def readdir(self, fh: FileHandleT, start_id: int, token: pyfuse3.ReaddirToken) -> None:
        directory = self._filesystem.directory_inode(fh)
        parent = directory.parent or directory
        for offset, name, inode in ((1, b".", directory), (2, b"..", parent)):
            if start_id < offset:
                entry = self._entry(inode)
                if not pyfuse3.readdir_reply(token, FileNameT(name), entry, offset):
                    return
        position = max(start_id - _FIRST_ENTRY, 0)
        told: list[int] = []
        try:
            while batch := await self._filesystem.readdir(fh, position):
                changed = self._filesystem.has_changed(fh)
                for listed, position in batch:
                    if changed and self._filesystem.is_gone(fh, listed, position):
                        continue
                    bound = self._filesystem.bind_entry_now(fh, listed, position)
                    if bound is None:
                        bound = await self._filesystem.bind_entry(fh, listed, position)
                    number = self._reply_entry(token, bound, listed, position)
                    if number is None:
                        return
                    told.append(number)
        except BaseException:
            # The kernel is sent an error instead of the entries, and will never forget them.
            for number in told:
                self._filesystem.forget(number, 1)
                _invalidate_attributes(InodeT(number))
            raise

    def _reply_entry(
        self, token: pyfuse3.ReaddirToken, inode: Inode, listed: DirEntry, position: int
    ) -> int | None:
        """One entry into the reply; None when it is full, and the kernel not told of it."""
        try:
            name, entry = FileNameT(encode_name(listed.name)), self._entry(inode)
            if not pyfuse3.readdir_reply(token, name, entry, position + _FIRST_ENTRY):
                if inode.nlookup:  # it has older attributes than we, and an open would not tell
                    _invalidate_attributes(InodeT(inode.number))
                return None
            inode.nlookup += 1
            self._filesystem.inodes.told(inode)
            return inode.number
        finally:
            self._filesystem.inodes.discard_unknown(inode)

    @guarded
    async def releasedir(self, fh: FileHandleT) -> None:
        await self._filesystem.releasedir(fh)


def _invalidate_attributes(inode: InodeT) -> None:
    """Make the kernel ask for attributes again. Safe inside a handler, for attributes alone."""
    try:
        pyfuse3.invalidate_inode(inode, attr_only=True)
    except OSError as failed:
        if failed.errno != errno.ENOENT:  # the kernel has just forgotten the inode
            raise
