"""Names made, removed and renamed, and attributes set by path. Raises ``NetfsError`` only.

The server decides: what is known here may be old, so nothing is refused by it. Handles of our own
that stand in the way of a directory's removal or renaming give way before it is asked: watches and
listings of the directory and of all below (files that wait for a next open: ``smb``). They are
opened again by use.

A call that fails may say that what was known is old, and one that was cancelled, or whose answer
was lost, may have been done: the name is then asked for again, by the kernel too.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager

import trio

from netfsfuse.errors import (
    AccessDenied,
    InvalidArgument,
    InvalidName,
    Locked,
    NotEmpty,
)
from netfsfuse.types import ChangeKind, FileAttr
from netfsfuse.vfs.coherency.watches import Watches
from netfsfuse.vfs.inodes.inodes import Inode, InodeTable
from netfsfuse.vfs.ops import MutableNamespace
from netfsfuse.vfs.tree.listings import Listings
from netfsfuse.vfs.tree.names import Names
from netfsfuse.vfs.tree.own_changes import OwnChanges

NOREPLACE = 1
"""The one flag of rename(2) that servers know; 2 and 4 are EXCHANGE and WHITEOUT."""

_ANY_WRITE = 0o222

_SAYS_NOTHING_NEW = (AccessDenied, InvalidArgument, Locked, NotEmpty)
"""Refusals that a name which is as it was known gets, too."""


class Mutations:
    """The calls. ``own`` puts right what is known afterwards. ``wait_closed(directory, name)``
    returns when no file at that name, or below, is being closed, or after a moment: its handle
    would stand in the way."""

    def __init__(
        self,
        inodes: InodeTable,
        namespace: MutableNamespace,
        names: Names,
        listings: Listings,
        watches: Watches,
        own: OwnChanges,
        wait_closed: Callable[[Inode, str], Awaitable[None]],
    ) -> None:
        self._inodes = inodes
        self._namespace = namespace
        self._names = names
        self._listings = listings
        self._watches = watches
        self._own = own
        self._wait_closed = wait_closed

    async def mkdir(self, parent: int, raw_name: bytes) -> Inode:
        """A new directory. The caller counts the look-up once the kernel is told, or calls
        ``inodes.discard_unknown``. Raises AlreadyExists."""
        directory, name = self._inodes.get(parent), self._new_name(raw_name)
        asked = trio.current_time()
        with self._changing(directory, name, ChangeKind.CREATED):
            attr = await self._namespace.make_directory(directory.path_of(name))
        self._own.created(directory, name, attr)
        return await self._names.bind(directory, name, attr, asked)

    async def unlink(self, parent: int, raw_name: bytes) -> None:
        """Remove a file or link. Raises IsADirectory."""
        directory, name = self._inodes.get(parent), self._namespace.decode_name(raw_name)
        await self._wait_closed(directory, name)
        with self._changing(directory, name, ChangeKind.REMOVED):
            path, known = directory.path_of(name), self._believed(directory, name)
            await self._namespace.remove(path, directory=False, known=known)
        self._own.removed(directory, name)

    async def rmdir(self, parent: int, raw_name: bytes) -> None:
        """Remove an empty directory. Raises NotEmpty and NotADirectory."""
        directory, name = self._inodes.get(parent), self._namespace.decode_name(raw_name)
        path = directory.path_of(name)
        await self._wait_closed(directory, name)
        await self._give_way(directory, name)
        with self._changing(directory, name, ChangeKind.REMOVED):
            known = self._believed(directory, name)
            await self._namespace.remove(path, directory=True, known=known)
        self._own.removed(directory, name)

    async def rename(
        self, parent: int, raw_name: bytes, new_parent: int, raw_new_name: bytes, flags: int
    ) -> None:
        """Give a name's file another name. Raises AlreadyExists with ``NOREPLACE``, InvalidArgument
        for other flags, NotEmpty, IsADirectory and NotADirectory where what is there cannot be
        replaced."""
        if flags & ~NOREPLACE:
            raise InvalidArgument(f"rename with flags {flags:#x}")
        directory, name = self._inodes.get(parent), self._namespace.decode_name(raw_name)
        new_directory, new_name = self._inodes.get(new_parent), self._new_name(raw_new_name)
        path, new_path = directory.path_of(name), new_directory.path_of(new_name)
        known = self._believed(directory, name)
        await self._wait_closed(directory, name)
        await self._wait_closed(new_directory, new_name)
        await self._give_way(directory, name)
        await self._give_way(new_directory, new_name)
        leaves, comes = ChangeKind.RENAMED_FROM, ChangeKind.RENAMED_TO
        if new_directory is not directory:
            leaves, comes = ChangeKind.REMOVED, ChangeKind.CREATED
        asked = trio.current_time()
        with (
            self._changing(directory, name, leaves),
            self._changing(new_directory, new_name, comes),
        ):
            attr = await self._namespace.rename(
                path, new_path, replace=not flags & NOREPLACE, known=known
            )
        self._own.renamed(directory, name, new_directory, new_name, attr, asked=asked)

    async def setattr(
        self,
        inode: Inode,
        *,
        size: int | None = None,
        access: int | None = None,
        write: int | None = None,
        mode: int | None = None,
    ) -> None:
        """Set size (bytes), times (ns since 1970) and mode (bits) of what is at the inode's path,
        None for what shall stay. Of a file's mode the server keeps whether any user may write, as
        its read-only mark; a directory's is taken, and has no effect."""
        read_only: bool | None = None
        if mode is not None and not inode.attr.is_directory:
            read_only = not mode & _ANY_WRITE
            if read_only == inode.attr.is_read_only:
                read_only = None
        if (size, access, write, read_only) == (None, None, None, None):
            return
        asked = trio.current_time()
        try:
            with self._own.expect(inode):
                attr = await self._namespace.set_attributes(
                    inode.path, size=size, access=access, write=write, read_only=read_only
                )
        except BaseException:
            inode.attr_until = 0.0
            if inode.parent is not None:
                self._own.uncertain(inode.parent, inode.name)
            raise
        finally:
            if size is not None:
                self._names.resized(inode)
        await self._names.accept(inode, attr, asked)
        self._own.modified(inode, attr, asked=asked)

    def _believed(self, directory: Inode, name: str) -> FileAttr | None:
        """What is at ``name``, so that it is known again if the server's answer is lost."""
        return None if directory.folder is None else directory.folder.attrs.get(name)

    def _new_name(self, raw_name: bytes) -> str:
        try:
            return self._namespace.decode_name(raw_name)
        except InvalidName as refused:
            raise InvalidArgument(str(refused)) from refused

    async def _give_way(self, directory: Inode, name: str) -> None:
        """Nothing of ours that only waits is open at ``name`` or below when this returns."""
        self._watches.give_way(directory, name)
        await self._listings.give_way(directory, name)

    @contextmanager
    def _changing(self, directory: Inode, name: str, kind: ChangeKind) -> Iterator[None]:
        try:
            with self._own.expect(directory, name, kind):
                yield
        except _SAYS_NOTHING_NEW:
            raise
        except BaseException:
            self._own.uncertain(directory, name)
            raise
