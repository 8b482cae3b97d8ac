"""The calls of the file system, each handed to its part. Raises ``NetfsError`` only."""

from __future__ import annotations

import logging
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from functools import partial

import trio

from netfsfuse.config import FileSystemConfig
from netfsfuse.errors import Stale
from netfsfuse.stats import Stats
from netfsfuse.tasks import ServiceNursery
from netfsfuse.types import Change, ChangeKind, DirEntry, FileAttr, VolumeStat
from netfsfuse.vfs.coherency.judge import Judge
from netfsfuse.vfs.coherency.stand_in import StandIn
from netfsfuse.vfs.coherency.watches import WATCHES_MAX, Watches
from netfsfuse.vfs.contents import Contents
from netfsfuse.vfs.feed.feeds import Feeds
from netfsfuse.vfs.files.closings import Closings
from netfsfuse.vfs.files.evidence import Evidence
from netfsfuse.vfs.files.file_writes import READING, FileWrites, Flags
from netfsfuse.vfs.files.files import Files
from netfsfuse.vfs.files.handle import FileHandles
from netfsfuse.vfs.files.holding import Holding
from netfsfuse.vfs.files.opened import Opened
from netfsfuse.vfs.files.opening import Openings
from netfsfuse.vfs.files.writers import Writers
from netfsfuse.vfs.inodes.identity import inode_number
from netfsfuse.vfs.inodes.inodes import Inode, InodeTable
from netfsfuse.vfs.inodes.kernel import Kernel
from netfsfuse.vfs.ops import WritableNamespace
from netfsfuse.vfs.prefetch.prefetch import Ahead
from netfsfuse.vfs.tree.attributes import Attributes
from netfsfuse.vfs.tree.links import Answers, Links
from netfsfuse.vfs.tree.listings import Listings
from netfsfuse.vfs.tree.lookups import Lookups
from netfsfuse.vfs.tree.mutations import Mutations
from netfsfuse.vfs.tree.names import Names
from netfsfuse.vfs.tree.own_changes import OwnChanges
from netfsfuse.vfs.tree.space import VolumeSpace

log = logging.getLogger(__name__)


class FileSystem:
    """The mount's calls. ``inodes`` holds the root. ``nursery`` owns the tasks that watch
    directories, fetch ahead and hold files open, which end with :meth:`aclose`."""

    def __init__(
        self,
        *,
        inodes: InodeTable,
        namespace: WritableNamespace,
        contents: Contents,
        kernel: Kernel,
        config: FileSystemConfig,
        stats: Stats,
        nursery: ServiceNursery,
    ) -> None:
        self.inodes = inodes
        trust = self.trust = config.trust
        self._namespace = namespace
        self._kernel = kernel
        self._stats = stats.vfs
        keeping = trust.mode != "none"
        reachability, knock = namespace.reachability, partial(namespace.stat, "")
        self.progress = reachability.progress  # keeps its contract
        judge = Judge(trust, stats.trust, is_heard=reachability.is_heard)
        stand_in = self._stand_in = StandIn(reachability, nursery, stats.vfs, knock)
        most = WATCHES_MAX if judge.watches else 0
        watches = Watches(namespace, nursery, stats.vfs, self._on_changes, most=most)
        handles = self._handles = FileHandles()
        links = self._links = Links(namespace, namespace.server_time, is_away=stand_in.stands_in)
        names = self._names = Names(
            namespace, contents, inodes, judge, links, handles.files_of, kernel.drop_entry
        )
        listings = self._listings = Listings(
            namespace, inodes, watches, judge, names.learn, stand_in
        )
        recent = listings.recent
        self._lookups = Lookups(namespace, inodes, judge, names, stand_in, recent.is_gone)
        self._attributes = Attributes(
            namespace, inodes, judge, names, handles.files_of, listings.relist, stand_in
        )
        ahead = Ahead(namespace, inodes, listings, contents.cache, judge, nursery, stats.vfs)
        own = OwnChanges(inodes, namespace, names, listings, watches, kernel, ahead)
        closings = self._closings = Closings(nursery, handles)
        self.mutations = Mutations(inodes, namespace, names, listings, watches, own, closings.wait)
        self._space = VolumeSpace(namespace, own, stand_in, keeping=trust.acdirmax > 0)
        self._watches, self._ahead, self._own = watches, ahead, own
        self._holding = Holding(nursery)
        self._writers = Writers(namespace, contents, names, own, self._drop_pages, mode=trust.mode)
        evidence = Evidence(names, judge, watches, ahead, handles)
        self._writes = FileWrites(self._writers, evidence, config.write)
        self._files = Files(
            inodes,
            contents,
            evidence,
            Openings(namespace, contents, evidence, self._on_changes, keeping=keeping),
            self._holding,
            self._writes,
            keeping=keeping,
        )
        self.feeds = Feeds(namespace, nursery)

    def _drop_pages(self, inode: Inode) -> None:
        """Have the kernel drop the pages of a file that another client may change."""
        if inode.parent is not None:
            self._kernel.changed(inode.parent, [Change(inode.name, ChangeKind.MODIFIED)])

    def _on_changes(self, inode: Inode, changes: Sequence[Change]) -> None:
        self._kernel.changed(inode, changes)
        for other in self._elsewhere(inode, changes):
            assert other.parent is not None
            other.attr_until = 0.0
            if other.parent.watched is not None:
                other.parent.watched.doubt(other.name, trio.current_time())
            self._kernel.changed(other.parent, [Change(other.name, ChangeKind.MODIFIED)])

    def _elsewhere(self, directory: Inode, changes: Sequence[Change]) -> Iterator[Inode]:
        """The files that are known by another name than the one by which a change was told."""
        folder = directory.folder
        if folder is None:
            return
        for change in changes:
            attr = folder.attrs.get(change.name)
            if attr is None or not attr.file_id or attr.is_directory:
                continue
            inode = self.inodes.in_use(inode_number(attr, ""))
            if inode is None or inode.parent is None:
                continue
            if (inode.parent, inode.name) != (directory, change.name):
                yield inode

    # -- names and attributes -----------------------------------------------------------------

    async def lookup(self, parent: int, raw_name: bytes) -> Inode:
        """Keeps the contract of ``Lookups.lookup``."""
        return await self._lookups.lookup(parent, raw_name)

    async def getattr(self, number: int) -> Inode:
        """Keeps the contract of ``Attributes.getattr``."""
        with self._noting_refusal(number):
            inode = await self._attributes.getattr(number)
            if inode.is_ruled and inode.written is None:  # it is being closed
                await self._writers.settle(inode)
        return inode

    @contextmanager
    def _noting_refusal(self, number: int) -> Iterator[None]:
        try:
            yield
        except Stale:
            if (inode := self.inodes.find(number)) is not None:
                self._names.former_names.refused(inode.path)
                if inode.parent is not None and inode.parent.folder is not None:
                    inode.parent.folder.doubt(inode.name)
            raise

    def attr_timeout(self, inode: Inode) -> float:
        """Keeps the contract of ``Names.attr_timeout``."""
        if inode.is_ruled and inode.written is None:  # being closed: its times are not known yet
            return 0.0
        return self._names.attr_timeout(inode)

    def readlink(self, number: int) -> str:
        """The target of a symlink that was looked up."""
        target = self.inodes.get(number).target
        if target is None:
            raise Stale(f"inode {number} is no symlink any more")
        return target

    def forget(self, number: int, nlookup: int) -> None:
        """The kernel lets go. Never raises."""
        forgotten = self.inodes.forget(number, nlookup)
        if forgotten is not None and forgotten.attr.is_directory:
            self._watches.forget(forgotten)
            self._listings.forget(forgotten)
            self._listings.recent.forget(forgotten)

    async def statfs(self) -> VolumeStat:
        """Keeps the contract of ``VolumeSpace.stat``."""
        return await self._space.stat()

    # -- files --------------------------------------------------------------------------------

    async def open(self, number: int, flags: Flags = READING) -> Opened:
        """Keeps the contract of ``Files.open``."""
        with self._noting_refusal(number):
            opened = await self._files.open(number, flags)
        self._count_handles()
        return opened

    async def create(
        self, parent: int, raw_name: bytes, flags: Flags, *, exclusive: bool
    ) -> tuple[Inode, Opened]:
        """Keeps the contract of ``FileWrites.create``."""
        directory = self.inodes.get(parent)
        name = self._namespace.decode_name(raw_name)
        created = await self._writes.create(directory, name, flags, exclusive=exclusive)
        self._count_handles()
        return created

    async def write(self, fh: int, start: int, data: bytes) -> None:
        """Keeps the contract of ``FileWrites.write``."""
        await self._writes.write(fh, start, data)

    async def flush(self, fh: int) -> None:
        """Keeps the contract of ``FileWrites.flush``."""
        await self._writes.flush(fh)

    async def fsync(self, fh: int) -> None:
        """Keeps the contract of ``FileWrites.fsync``."""
        await self._writes.fsync(fh)

    async def setattr(
        self,
        number: int,
        *,
        size: int | None = None,
        access: int | None = None,
        write: int | None = None,
        mode: int | None = None,
    ) -> Inode:
        """Set what is not None: size in bytes, times in ns since 1970, mode as in st_mode. Returns
        the inode as it is then."""
        inode = self.inodes.get(number)
        with self._noting_refusal(number):
            if size is not None and await self._writes.truncate(inode, size):
                size = None
            if (access, write) != (None, None) and await self._writes.set_times(
                inode, access=access, write=write
            ):
                access = write = None
            if (size, access, write, mode) != (None, None, None, None):
                await self.mutations.setattr(
                    inode, size=size, access=access, write=write, mode=mode
                )
        return await self.getattr(number)

    async def read(self, fh: int, start: int, size: int) -> memoryview | bytes:
        """Keeps the contract of ``Files.read``."""
        return await self._files.read(fh, start, size)

    def read_now(self, fh: int, start: int, size: int) -> memoryview | bytes | None:
        """As :meth:`read`, where the bytes are at hand; None where they must be waited for."""
        return self._files.read_now(fh, start, size)

    def file_inode(self, fh: int) -> Inode:
        """The inode of an open file."""
        return self._handles.get(fh).inode

    async def let_go(self, fh: int) -> None:
        """The kernel has closed a file handle: what that takes is not waited for (``Closings``)."""
        handle = self._handles.pop(fh)
        if handle is not None:
            self._count_handles()
            if handle.closes_at_once:
                await self._files.release(handle)
            else:
                close = partial(self._files.release, handle)
                self._closings.begin(handle.inode, close, sends=handle.written is not None)

    async def release(self, fh: int) -> None:
        """Close a file handle, and wait for all that takes."""
        handle = self._handles.pop(fh)
        if handle is not None:
            self._count_handles()
            await self._files.release(handle)

    def _count_handles(self) -> None:
        self._stats.handles = len(self._handles) + len(self._listings.handles)

    # -- directories --------------------------------------------------------------------------

    async def opendir(self, number: int) -> int:
        """Keeps the contract of ``Listings.opendir``."""
        fh = await self._listings.opendir(number)
        self._count_handles()
        self._ahead.use_directory(self.directory_inode(fh))
        return fh

    async def readdir(self, fh: int, position: int) -> list[tuple[DirEntry, int]]:
        """Keeps the contract of ``Listings.readdir``."""
        batch = await self._listings.readdir(fh, position)
        handle = self._listings.handles.get(fh)
        # A reply holds fewer than a batch: the rest comes again, and is not to be looked at again.
        fresh = [entry for entry, behind in batch if behind > handle.examined]
        if fresh:
            handle.examined = batch[-1][1]
            handle.links.update(await self._links.targets(handle.inode.path_of, fresh))
        return batch

    def directory_inode(self, fh: int) -> Inode:
        """The inode of an open directory."""
        return self._listings.handles.get(fh).inode

    async def bind_entry(self, fh: int, entry: DirEntry, position: int) -> Inode:
        """The inode of the entry before ``position`` of an open directory, whose attributes are as
        old as its page. The caller counts the look-up once the kernel is told, or calls
        ``inodes.discard_unknown``.
        """
        return self.bind_entry_now(fh, entry, position) or await self._names.bind(
            *self._place_of(fh, entry, position)
        )

    def bind_entry_now(self, fh: int, entry: DirEntry, position: int) -> Inode | None:
        """As :meth:`bind_entry`, where that needs no question to the server; else None."""
        return self._names.bind_at_once(*self._place_of(fh, entry, position))

    def has_changed(self, fh: int) -> bool:
        """Whether names of an open directory were made or removed here a moment ago."""
        return self._listings.recent.knows(self.directory_inode(fh))

    def is_gone(self, fh: int, entry: DirEntry, position: int) -> bool:
        """Whether the entry before ``position`` was removed here since it was listed: it is not to
        be shown, for the kernel would take it for one that is there."""
        handle = self._listings.handles.get(fh)
        asked = self._listings.asked(handle, position)
        return self._listings.recent.is_gone(handle.inode, entry.name, asked)

    def _place_of(
        self, fh: int, entry: DirEntry, position: int
    ) -> tuple[Inode, str, FileAttr, float, Answers]:
        handle = self._listings.handles.get(fh)
        asked = self._listings.asked(handle, position)
        return handle.inode, entry.name, entry.attr, asked, handle.links

    async def releasedir(self, fh: int) -> None:
        """Close a directory handle."""
        handle = self._listings.handles.pop(fh)
        if handle is not None:
            self._count_handles()
            await self._listings.release(handle)

    async def aclose(self) -> None:
        """Let go of all handles that the kernel has left behind, end what is fetched ahead and what
        is watched."""
        self._stand_in.close()
        self._ahead.close()
        self._watches.close()
        self._holding.close()
        await self._writers.drain()
        await self._closings.aclose()
        await self._files.aclose()
        self._listings.aclose()
        self._count_handles()
