"""A mount's vfs on top of the real netfs, with a namespace, a cache and a kernel that do as they
are told. What is in ``fake_namespace`` may be taken from here, too."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

import trio
import trio.testing

from netfsfuse.config import FileSystemConfig, ReadConfig, TrustConfig
from netfsfuse.netfs import Netfs
from netfsfuse.netfs.ops import CacheObject
from netfsfuse.stats import Stats
from netfsfuse.tasks import ServiceNursery
from netfsfuse.types import (
    Change,
    FileAttr,
    coherency_of,
    same_content,
)
from netfsfuse.vfs.contents import Contents
from netfsfuse.vfs.filesystem import FileSystem
from netfsfuse.vfs.inodes.inodes import Inode, InodeTable
from tests.vfs.fake_namespace import (
    NOW,
    DeferredFile,
    FakeNamespace,
    Listing,
    Node,
    OpenFile,
    Watch,
    dir_attr,
    file_attr,
    stamp,
)

__all__ = [
    "NOW",
    "DeferredFile",
    "FakeCache",
    "FakeKernel",
    "FakeNamespace",
    "FakeObject",
    "Listing",
    "Node",
    "OpenFile",
    "Vfs",
    "Watch",
    "dir_attr",
    "file_attr",
    "mounted",
    "stamp",
]


class FakeObject:
    """A cache object that stores nothing, of one cache key; two at once are a failure."""

    def __init__(self, cache: FakeCache, file_id: int) -> None:
        self._cache, self._file_id = cache, file_id
        self.closed = False

    async def query_occupancy(self, start: int, end: int) -> list:
        return []

    async def read(self, start: int, target: memoryview) -> bool:
        return False

    async def write(self, start: int, data: memoryview) -> bool:
        return False

    async def begin_changes(self) -> bool:
        self._cache.changed += 1
        return True

    async def discard(self, start: int, end: int) -> bool:
        return True

    async def resize(self, size: int) -> bool:
        return True

    async def restamp(self, attr: FileAttr) -> bool:
        self._cache.restamped.append(attr)
        return True

    async def aclose(self) -> None:
        if not self.closed:
            self.closed = True
            self._cache.closed += 1


@dataclass
class FakeCache:
    """``pause`` seconds an acquire takes. ``changed``: how often changes were begun."""

    acquired: list[FileAttr] = field(default_factory=list)
    closed: int = 0
    changed: int = 0
    restamped: list[FileAttr] = field(default_factory=list)
    pause: float = 0.0
    kept: dict[str, tuple[FileAttr, bytes]] = field(default_factory=dict)
    used: list[str] = field(default_factory=list)
    moves: list[tuple[FileAttr, str, FileAttr, str]] = field(default_factory=list)

    async def acquire(self, attr: FileAttr, path: str) -> CacheObject:
        await trio.sleep(self.pause)
        self.acquired.append(attr)
        return FakeObject(self, attr.file_id)

    async def store_whole(self, attr: FileAttr, path: str, data: memoryview) -> None:
        self.kept[path] = (attr, bytes(data))

    async def load_whole(self, files: Sequence[tuple[FileAttr, str]]) -> list[memoryview | None]:
        await trio.sleep(self.pause)
        found: list[memoryview | None] = []
        for attr, path in files:
            known, data = self.kept.get(path, (None, b""))
            right = known is not None and same_content(coherency_of(known), attr)
            found.append(memoryview(data) if right else None)
        return found

    def renamed(self, before: FileAttr, path: str, attr: FileAttr, to: str) -> None:
        self.moves.append((before, path, attr, to))

    def mark_used(self, attr: FileAttr, path: str) -> None:
        self.used.append(path)


@dataclass
class FakeKernel:
    """The kernel as it is told of changes: a test hears by ``on_changed`` and ``on_drop``."""

    on_changed: Callable[[Inode, Sequence[Change]], None] = lambda directory, changes: None
    on_drop: Callable[[Inode, str], None] = lambda directory, name: None
    own: list[tuple[Inode, str]] = field(default_factory=list)

    def changed(self, directory: Inode, changes: Sequence[Change]) -> None:
        self.on_changed(directory, changes)

    def own_change(self, directory: Inode, name: str) -> None:
        self.own.append((directory, name))

    async def drop_entry(self, directory: Inode, name: str) -> None:
        self.on_drop(directory, name)


@dataclass
class Vfs:
    """A file system, and what is over and under it."""

    fs: FileSystem
    kernel: FakeKernel
    names: FakeNamespace
    cache: FakeCache
    contents: Contents
    stats: Stats
    clock: list[float]
    failures: int = 0  # tasks that a test lets fail

    async def lookup(self, name: str, parent: int = 1) -> Inode:
        """As the kernel does it: the look-up counts."""
        inode = await self.fs.lookup(parent, name.encode())
        inode.nlookup += 1
        return inode

    async def content(self, number: int, size: int = 4096) -> bytes:
        """open, read, release."""
        opened = await self.fs.open(number)
        try:
            return bytes(await self.fs.read(opened.fh, 0, size))
        finally:
            await self.fs.release(opened.fh)


@asynccontextmanager
async def mounted(
    tree: dict[str, Node] | None = None,
    *,
    actimeo: float = 1.0,
    mode: str = "strict",
    watching: bool = False,
    names: FakeNamespace | None = None,
) -> AsyncIterator[Vfs]:
    """A vfs; at the end no handle, content, cache object, task or buffer may be left."""
    root = dir_attr(2)
    if names is None:
        names = FakeNamespace({"": Node(root), **(tree or {})}, watching=watching)
    cache, stats, clock = FakeCache(), Stats(), [NOW]
    async with trio.open_nursery() as nursery:
        service = ServiceNursery(nursery, stats.tasks.note_failed)
        netfs = Netfs(
            nursery=service,
            config=ReadConfig(),
            stats=stats,
            rsize=1 << 20,
            capacity=lambda: 1 << 30,
        )
        contents = Contents(netfs, cache)
        kernel = FakeKernel()
        names.clock = clock
        fs = FileSystem(
            inodes=InodeTable(root, stats.vfs),
            namespace=names,
            contents=contents,
            kernel=kernel,
            config=FileSystemConfig(TrustConfig(mode, acregmax=actimeo, acdirmax=actimeo)),
            stats=stats,
            nursery=service,
        )
        vfs = Vfs(fs, kernel, names, cache, contents, stats, clock)
        yield vfs
        await netfs.drain()
        fs._watches.close()
        fs._holding.close()
        fs._ahead.close()
        fs._stand_in.close()
        await trio.testing.wait_all_tasks_blocked()
        assert names.open_handles == []
        assert names.watches == []
        assert stats.vfs.handles == 0
        assert stats.tasks.failed == vfs.failures
        assert contents._slots == {}
        assert cache.closed == len(cache.acquired)
        assert not nursery.child_tasks
        assert netfs.pool.in_use == 0
