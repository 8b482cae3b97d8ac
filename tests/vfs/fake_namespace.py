"""A namespace in memory that does as it is told.

``FakeNamespace.tree`` maps paths to :class:`Node`; tests change it as a server's own users would.
Every call is noted in ``asked``; ``before(what, path)`` may raise, or wait, in front of any.
"""

from __future__ import annotations

import math
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field

import trio
import trio.testing

from netfsfuse.errors import (
    AlreadyExists,
    Disconnected,
    IsADirectory,
    NotADirectory,
    NotEmpty,
    NotFound,
    Stale,
)
from netfsfuse.netfs import Buffer
from netfsfuse.netfs.demand import Demand
from netfsfuse.types import (
    DIRECTORY,
    READ_ONLY,
    Change,
    ChangeKind,
    DirEntry,
    FileAttr,
    Reach,
    ServerTime,
    VolumeStat,
)

NOW = 1_700_000_000.0
"""The server's clock, seconds since 1970."""


def stamp(seconds: float) -> int:
    """``NOW + seconds`` in ns since 1970, and never a whole second: the server's clock is fine."""
    return int((NOW + seconds) * 10_000_000) * 100 + 700


def file_attr(
    file_id: int, size: int = 0, *, age: float = 3600.0, born: float = 7200.0
) -> FileAttr:
    """A file written ``age`` seconds ago and made ``born`` seconds ago."""
    then = stamp(-age)
    return FileAttr(file_id, stamp(-born), then, then, then, size, size, 0)


def dir_attr(file_id: int) -> FileAttr:
    """A directory."""
    return file_attr(file_id)._replace(flags=DIRECTORY)


@dataclass
class Node:
    """What is at a path: a file's content, a link's target, or a directory (neither)."""

    attr: FileAttr
    content: bytes = b""
    target: str | None = None
    removed: bool = False
    is_followed: bool = False


class OpenFile:
    """A handle: reads its node whatever the path names by now."""

    def __init__(self, namespace: FakeNamespace, node: Node, path: str) -> None:
        self.attr = node.attr
        self.asked = trio.current_time()
        self.closed = 0
        self._namespace, self._node, self._path = namespace, node, path

    async def read(
        self, start: int, length: int, buffer: Buffer, at: int, *, demand: Demand
    ) -> int:
        assert not self.closed
        await self._namespace.note("read", self._path)
        data = self._node.content[start : start + length]
        buffer.payload[at : at + len(data)] = data
        return len(data)

    is_held = True

    @property
    def closes_at_once(self) -> bool:
        return not self.is_held

    @property
    def is_followed(self) -> bool:
        return self._node.is_followed

    async def hold(self) -> None:
        pass

    async def query(self) -> FileAttr:
        await self._namespace.note("query", self._path)
        return self._node.attr

    async def aclose(self) -> None:
        self.closed += 1
        self._namespace.open_handles.remove(self)


class DeferredFile(OpenFile):
    """A file that is opened when it is read or held."""

    def __init__(self, namespace, node, path, opened) -> None:
        super().__init__(namespace, node, path)
        self._opened = opened
        self.is_held = self._lost = False

    async def hold(self) -> None:
        if self.is_held:
            return
        await self._namespace.note("open", self._path)
        if self._lost or self._namespace.tree.get(self._path) is not self._node:
            self._lost = True
            raise Stale(self._path)
        self.is_held = True
        if self._node.attr != self.attr:
            self._opened(self._node.attr)

    async def query(self) -> FileAttr:
        await self.hold()
        return await super().query()

    async def read(
        self, start: int, length: int, buffer: Buffer, at: int, *, demand: Demand
    ) -> int:
        await self.hold()
        return await super().read(start, length, buffer, at, demand=demand)


class Watch:
    """A watch that tells what a test puts into ``told``; None ends it."""

    def __init__(self, namespace: FakeNamespace, path: str) -> None:
        self._namespace = namespace
        self.path = path
        self.send, self._receive = trio.open_memory_channel[list[Change] | None](1000)
        self.closed = False
        namespace.watches.append(self)

    async def begun(self) -> None:
        await self._namespace.note("watch", self.path)

    async def changes(self) -> list[Change]:
        changes = await self._receive.receive()
        if changes is None:
            raise Disconnected("the watch is over")
        return changes

    def close(self) -> None:
        if not self.closed:
            self.closed = True
            self._namespace.watches.remove(self)


class Listing:
    """An open directory, in pages of ``FakeNamespace.page`` entries."""

    def __init__(self, namespace: FakeNamespace, path: str) -> None:
        self._namespace, self._path = namespace, path
        self.asked = trio.current_time()
        self.own = namespace.tree[path].attr if path in namespace.tree else None
        self.is_followed = path in namespace.tree and namespace.tree[path].is_followed
        prefix = f"{path}/" if path else ""
        self._left = [
            DirEntry(name[len(prefix) :], node.attr)
            for name, node in namespace.tree.items()
            if name and name.startswith(prefix) and "/" not in name[len(prefix) :]
        ]

    async def next_page(self) -> list[DirEntry]:
        await self._namespace.note("page", self._path)
        size = self._namespace.page
        page, self._left = self._left[:size], self._left[size:]
        return page

    async def aclose(self) -> None:
        self._namespace.open_handles.remove(self)


class FakeReachability:
    """The server's reach, as a test sets it by ``become``. ``until`` and ``heard`` are what
    ``waits_until`` and ``is_heard`` say while it is UP."""

    def __init__(self) -> None:
        self.reach = Reach.UP
        self.since = self.until = math.inf
        self.heard = True
        self.doubts: list[Callable[[], None]] = []
        self._not_up = trio.Event()

    def become(self, reach: Reach, until: float = math.inf) -> None:
        was_up = self.reach is Reach.UP
        self.reach, self.until = reach, until
        if was_up or reach is Reach.UP:
            self.since = math.inf if reach is Reach.UP else trio.current_time()
        if reach is not Reach.UP:
            self._not_up.set()
        elif not was_up:
            self._not_up = trio.Event()

    def waits_until(self) -> float:
        return self.until

    def is_heard(self) -> bool:
        return self.heard and self.reach is Reach.UP

    def progress(self) -> object:
        return 0

    async def wait_not_up(self) -> None:
        await self._not_up.wait()

    def on_doubt(self, doubt: Callable[[], None]) -> None:
        self.doubts.append(doubt)


@dataclass
class FakeNamespace:
    """See the module."""

    tree: dict[str, Node] = field(default_factory=dict)
    page: int = 4
    asked: list[tuple[str, str]] = field(default_factory=list)
    open_handles: list[OpenFile | Listing] = field(default_factory=list)
    watches: list[Watch] = field(default_factory=list)
    watching: bool = False  # whether watches are to be had
    reachability: FakeReachability = field(default_factory=FakeReachability)
    before: Callable[[str, str], Awaitable[None] | None] = lambda what, path: None
    clock: list[float] = field(default_factory=lambda: [NOW])

    clock_known: bool = True

    def server_time(self) -> ServerTime:
        if not self.clock_known:
            return ServerTime(-math.inf, math.inf, math.inf)
        return ServerTime(self.clock[0], self.clock[0], measured=0.0)

    async def note(self, what: str, path: str) -> None:
        self.asked.append((what, path))
        await trio.lowlevel.checkpoint()
        waiting = self.before(what, path)
        if waiting is not None:
            await waiting

    def count(self, what: str) -> int:
        return sum(1 for kind, _ in self.asked if kind == what)

    async def _node(self, what: str, path: str) -> Node:
        await self.note(what, path)
        if path not in self.tree:
            raise NotFound(path)
        return self.tree[path]

    def decode_name(self, raw: bytes) -> str:
        return raw.decode()

    def is_surely_listed(self, name: str) -> bool:
        return not name.startswith("aux")

    async def stat(self, path: str) -> FileAttr:
        return (await self._node("stat", path)).attr

    async def read_link(self, path: str, attr: FileAttr) -> str | None:
        return (await self._node("read_link", path)).target

    def may_be_link(self, attr: FileAttr) -> bool:
        return attr.size == 1067 or attr.may_be_link

    leasing: bool = False

    async def open(
        self,
        path: str,
        *,
        prefill: int = 0,
        known: FileAttr | None = None,
        on_break: Callable[[], None] | None = None,
    ) -> tuple[OpenFile, memoryview | None]:
        node = await self._node("open", path)
        file = OpenFile(self, node, path)
        self.open_handles.append(file)
        data = memoryview(node.content[:prefill])
        return file, data if prefill and len(data) == node.attr.size else None

    def open_deferred(
        self, path: str, attr: FileAttr, opened: Callable[[FileAttr], None]
    ) -> DeferredFile:
        file = DeferredFile(self, self.tree.get(path) or Node(attr), path, opened)
        file.attr = attr
        self.open_handles.append(file)
        return file

    async def fetch(self, path: str, size: int) -> tuple[FileAttr, memoryview] | None:
        node = await self._node("fetch", path)
        return None if node.is_followed else (node.attr, memoryview(node.content[:size]))

    def watch(self, path: str, *, tree: bool = False) -> Watch | None:
        return Watch(self, path) if self.watching else None

    def tell(self, path: str, *changes: Change) -> None:
        """Have the watches of ``path`` tell of ``changes``."""
        for watch in self.watches:
            if watch.path == path:
                watch.send.send_nowait(list(changes))

    async def list(self, path: str) -> Listing:
        node = await self._node("list", path)
        if not node.attr.is_directory:
            raise NotADirectory(path)
        listing = Listing(self, path)
        self.open_handles.append(listing)
        return listing

    async def stat_volume(self) -> VolumeStat:
        await self.note("statfs", "")
        return VolumeStat(4096, 1000, 500, 400)

    # -- changes: as they echo on Samba 4.17 ---------------------------------------------------

    echoing: bool = True
    next_id: int = 1000

    def _below(self, path: str) -> list[str]:
        return [each for each in self.tree if each.startswith(f"{path}/")]

    def _echo(self, path: str, *kinds: ChangeKind) -> None:
        parent, _, name = path.rpartition("/")
        if self.echoing:
            for kind in kinds:
                self.tell(parent, Change(name, kind))

    def _check_parent(self, path: str) -> None:
        parent = path.rpartition("/")[0]
        if parent not in self.tree:
            raise NotFound(path)

    async def make_directory(self, path: str) -> FileAttr:
        await self.note("make_directory", path)
        self._check_parent(path)
        if path in self.tree:
            raise AlreadyExists(path)
        self.next_id += 1
        self.tree[path] = Node(dir_attr(self.next_id))
        self._echo(path, ChangeKind.CREATED, ChangeKind.MODIFIED)
        return self.tree[path].attr

    async def remove(self, path: str, *, directory: bool, known: FileAttr | None = None) -> None:
        node = await self._node("remove", path)
        if node.attr.is_directory != directory:
            raise NotADirectory(path) if directory else IsADirectory(path)
        if self._below(path):
            raise NotEmpty(path)
        del self.tree[path]
        self._echo(path, ChangeKind.REMOVED)

    async def rename(
        self, path: str, to: str, *, replace: bool, known: FileAttr | None = None
    ) -> FileAttr:
        node = await self._node("rename", path)
        self._check_parent(to)
        if to in self.tree and not replace:
            raise AlreadyExists(to)
        if self._below(to):
            raise NotEmpty(to)
        moved = {to: node}
        for each in self._below(path):
            moved[to + each[len(path) :]] = self.tree.pop(each)
        del self.tree[path]
        self.tree.update(moved)
        if path.rpartition("/")[0] == to.rpartition("/")[0]:
            self._echo(path, ChangeKind.RENAMED_FROM)
            self._echo(to, ChangeKind.RENAMED_TO, ChangeKind.MODIFIED)
        else:
            self._echo(path, ChangeKind.REMOVED)
            self._echo(to, ChangeKind.CREATED, ChangeKind.MODIFIED)
        return node.attr

    async def set_attributes(
        self,
        path: str,
        *,
        size: int | None = None,
        access: int | None = None,
        write: int | None = None,
        read_only: bool | None = None,
    ) -> FileAttr:
        node = await self._node("set_attributes", path)
        attr = node.attr
        if size is not None:
            node.content = node.content[:size].ljust(size, b"\0")
            now = int(self.clock[0] * 1e9)
            attr = attr._replace(size=size, allocation=size, write=now, change=now)
        if access is not None:
            attr = attr._replace(access=access)
        if write is not None:
            attr = attr._replace(write=write, change=write)
        if read_only is not None:
            attr = attr._replace(flags=attr.flags & ~READ_ONLY | (READ_ONLY if read_only else 0))
        node.attr = attr
        self._echo(path, ChangeKind.MODIFIED, ChangeKind.MODIFIED)
        return attr
