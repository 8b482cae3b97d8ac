"""The files that are open for writing, by inode: how they are opened, made and closed.

A file is opened on the server by the first program that opens it for writing, and closed when its
last handle is closed, readers' handles included that were opened meanwhile. What comes of closing
it (``WritableOpenFile.finish``) is what the file is like from then on: its content in memory and in
the disk cache goes on under these attributes, if no other client can have written to it.
"""

from __future__ import annotations

import logging
import math
from collections.abc import Callable

import trio

from netfsfuse.types import FileAttr, ServerTime, coherency_of
from netfsfuse.vfs.contents import Content, Contents
from netfsfuse.vfs.files.written import WrittenFile
from netfsfuse.vfs.inodes.inodes import Inode
from netfsfuse.vfs.ops import WritableNamespace, WritableOpenFile
from netfsfuse.vfs.tree.names import Names
from netfsfuse.vfs.tree.own_changes import OwnChanges

log = logging.getLogger(__name__)


class _Holder:
    """A lease's holder from before the file is opened: the lease may be wanted back at once."""

    def __init__(self) -> None:
        self.written: WrittenFile | None = None
        self.is_wanted = False

    async def give_back(self, *, keeps_reads: bool) -> None:
        """Keeps the contract of ``LeaseHolder.give_back``."""
        self.is_wanted = True
        if self.written is not None:
            await self.written.give_back(keeps_reads=keeps_reads)


class Writers:
    """Inode -> :class:`WrittenFile`. ``mode``: of the mount, as ``TrustConfig``. ``changed`` hears
    of an inode whose pages the kernel is to drop."""

    def __init__(
        self,
        namespace: WritableNamespace,
        contents: Contents,
        names: Names,
        own: OwnChanges,
        changed: Callable[[Inode], None],
        *,
        mode: str,
    ) -> None:
        self._namespace = namespace
        self._contents = contents
        self._names = names
        self._own = own
        self._changed = changed
        self._mode = mode
        self._written: dict[Inode, WrittenFile] = {}

    def __len__(self) -> int:
        return len(self._written)

    def __contains__(self, inode: Inode) -> bool:
        return inode in self._written

    @property
    def keeping(self) -> bool:
        """Whether the kernel keeps pages of files, so that it reads no further than their end."""
        return self._mode != "none"

    # -- opening ------------------------------------------------------------------------------

    async def open(self, inode: Inode, *, truncate: bool = False) -> WrittenFile:
        """The file, open for writing, with one more user. Raises the server's refusal, and Stale
        where another file is at the inode's path."""
        written = self._join(inode)
        try:
            async with written.lock:
                if not written.is_open:
                    holder = _Holder()
                    asked = trio.current_time()
                    with self._own.expect(inode):
                        file = await self._namespace.open_writing(
                            inode.path, known=inode.attr, holder=holder
                        )
                    inode.linked = file.is_followed
                    await self._begin(written, file, holder, asked)
            if truncate:
                await written.empty()
        except BaseException:
            await self.release(written)
            raise
        return written

    def join(self, inode: Inode) -> WrittenFile | None:
        """One more user of the file, if it is open for writing and can be read."""
        written = self._written.get(inode)
        if written is None or not written.users or not written.is_open:
            return None
        if not written.file.may_read:
            return None
        written.users += 1
        return written

    async def create(self, directory: Inode, name: str, *, exclusive: bool) -> WrittenFile:
        """The file ``name`` in ``directory``, made if there is none, open for writing with one more
        user. Raises AlreadyExists if it is there and ``exclusive``. The caller counts the look-up
        once the kernel is told, or calls ``inodes.discard_unknown``."""
        holder = _Holder()
        asked = trio.current_time()
        with self._own.expect(directory, name):
            file, made = await self._namespace.create(
                directory.path_of(name), exclusive=exclusive, holder=holder
            )
        written = None
        try:
            if made:
                self._own.created(directory, name, file.attr)
            inode = await self._names.bind(directory, name, file.attr, asked)
            inode.linked = file.is_followed or directory.linked
            written = self._join(inode)
            async with written.lock:
                if not written.is_open:
                    await self._begin(written, file, holder, asked)
                    return written
        except BaseException:
            await file.aclose()
            if written is not None:
                await self.release(written)
            raise
        await file.aclose()
        return written

    def _join(self, inode: Inode) -> WrittenFile:
        written = self._written.get(inode)
        if written is None:
            written = self._written[inode] = WrittenFile(inode, self)
        written.users += 1
        return written

    async def _begin(
        self, written: WrittenFile, file: WritableOpenFile, holder: _Holder, asked: float
    ) -> None:
        """``file`` becomes the one of ``written``; closed where that fails."""
        inode = written.inode
        number, path = inode.number, inode.path
        try:
            await self._names.accept(inode, file.attr, asked, final=True)
            behind = self._mode == "loose" or (self._mode == "strict" and file.is_leased)
            if behind:
                content = await self._contents.acquire_writing(number, file.attr, path)
                behind = not content.netfs.retired
            else:
                self._contents.retire(number)
                content = self._contents.stale(file.attr, path)
        except BaseException:
            await file.aclose()
            raise
        written.begin(file, content, behind=behind)
        # What is written in the background is told by the watch at any time.
        written.expecting.enter_context(self._own.expect(inode, modified=math.inf))
        holder.written = written
        if holder.is_wanted:  # it was taken back while the content was opened
            await written.give_back(keeps_reads=False)

    # -- closing ------------------------------------------------------------------------------

    async def release(self, written: WrittenFile) -> None:
        """A handle is closed; the last one closes the file. Cancelled: it is closed on the server
        all the same, what was not sent is lost, and the log says so."""
        written.users -= 1
        inode = written.inode
        try:
            if not written.users:
                with trio.CancelScope(shield=True):  # opening and closing are bounded
                    await written.lock.acquire()
                try:
                    if not written.users and written.is_open:
                        await self._end(written)
                finally:
                    written.lock.release()
        finally:
            unused = not written.users and not written.is_open
            if unused and self._written.get(inode) is written:
                del self._written[inode]

    async def _end(self, written: WrittenFile) -> None:
        inode, content = written.inode, written.content
        attr: FileAttr | None = None
        asked = 0.0
        try:
            content, attr, asked = await written.end()
        finally:
            inode.is_ruled = False
            self._take_end(written, content, attr, asked)
            with trio.CancelScope(shield=True):
                await self._contents.release(inode.number, content)

    def _take_end(
        self, written: WrittenFile, content: Content, attr: FileAttr | None, asked: float
    ) -> None:
        """The file is closed, and is ``attr``."""
        inode = written.inode
        written.expecting.close()
        if attr is None or not written.is_behind or content.netfs.retired:
            inode.pages = None
            content.netfs.retire()
        elif coherency_of(attr) != content.record:
            content.record = coherency_of(attr)
            content.netfs.stamp = attr
            if inode.pages == written.opened_as:
                inode.pages = attr
        if attr is not None:
            inode.changed_at = -math.inf  # this answer is the latest
            # It may state older marks than a chmod has set beside this handle (4 times in 150).
            self._own.modified(inode, attr._replace(flags=inode.attr.flags), asked=asked)
        else:
            inode.attr_until = 0.0

    async def settle(self, inode: Inode) -> None:
        """Return when the file is not being closed any more, if its last handle is."""
        while (written := self._written.get(inode)) is not None and not written.users:
            async with written.lock:
                pass
            if self._written.get(inode) is written:
                await trio.lowlevel.checkpoint()  # its closer is about to take it out

    async def drain(self) -> None:
        """All that was written is on the server, or was refused."""
        async with trio.open_nursery() as nursery:
            for written in list(self._written.values()):
                if written.is_open:
                    nursery.start_soon(written.drain)

    # -- for the files ------------------------------------------------------------------------

    def server_time(self) -> ServerTime:
        """The server's clock, now."""
        return self._namespace.server_time()

    def through(self, written: WrittenFile, *, keeps_reads: bool) -> None:
        """Another client has the file as well from now on: nothing more is kept of it."""
        inode = written.inode
        inode.attr_until = 0.0
        written.content.netfs.retire()
        self._contents.retire(inode.number)
        if not keeps_reads:
            self.forget_pages(inode)

    def forget_pages(self, inode: Inode) -> None:
        """What the kernel has of the file is not what the file holds."""
        inode.pages = None
        self._changed(inode)
