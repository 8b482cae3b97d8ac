"""Files of the fake namespace that may be written: a test decides whether they are leased, which
writes fail, and when another client wants them."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

import trio

from netfsfuse.errors import AlreadyExists, NetfsError
from netfsfuse.netfs import Buffer
from netfsfuse.netfs.demand import Demand
from netfsfuse.types import FileAttr
from netfsfuse.vfs.ops import LeaseHolder
from tests.vfs.fakes import NOW, FakeNamespace, Node, OpenFile, file_attr, stamp


class WrittenNode(OpenFile):
    """A handle that writes to its node. ``leased`` as the namespace says when it is opened."""

    def __init__(self, namespace: WritableFakes, node: Node, path: str, holder) -> None:
        super().__init__(namespace, node, path)
        self.is_leased = namespace.leases
        self.may_read = namespace.may_read
        self.holder: LeaseHolder = holder
        self.finished = 0
        self._is_set = False  # the time of the last write, which later ones do not move then
        self._names = namespace

    async def write(
        self, start: int, length: int, buffer: Buffer, at: int, *, demand: Demand
    ) -> int:
        data = bytes(buffer.payload[at : at + length])
        await self._names.note("write", self._path)
        if (failure := self._names.refuse(start, length)) is not None:
            raise failure
        assert data == bytes(buffer.payload[at : at + length]), "changed while it was being sent"
        content = bytearray(self._node.content.ljust(start + length, b"\0"))
        content[start : start + length] = data
        self._change(bytes(content))
        return length

    @asynccontextmanager
    async def appending(self) -> AsyncIterator[int]:
        await self._names.note("lock", self._path)
        yield len(self._node.content)
        await self._names.note("unlock", self._path)

    async def flush(self) -> None:
        await self._names.note("flush", self._path)

    async def set_size(self, size: int) -> None:
        await self._names.note("set_size", self._path)
        self._change(self._node.content[:size].ljust(size, b"\0"))

    async def set_times(self, *, access: int | None, write: int | None) -> None:
        await self._names.note("set_times", self._path)
        attr = self._node.attr
        if access is not None:
            attr = attr._replace(access=access)
        if write is not None:
            attr = attr._replace(write=write)
            self._is_set = True
        self._node.attr = attr

    def _change(self, content: bytes) -> None:
        if not content and not self._node.content:
            return  # Samba moves no time
        self._node.content = content
        now = stamp(self._names.clock[0] - NOW)
        size = len(content)
        attr = self._node.attr._replace(size=size, allocation=size, change=now)
        self._node.attr = attr if self._is_set else attr._replace(write=now)

    async def finish(self) -> FileAttr | None:
        self.finished += 1
        await self.aclose()
        await self._names.note("finish", self._path)
        return self._node.attr


@dataclass
class WritableFakes(FakeNamespace):
    """``leases``: whether files that are opened for writing are leased. ``refuse(start, length)``:
    the error of a WRITE, or None. ``written``: what was opened."""

    leases: bool = True
    may_read: bool = True
    refuse: Callable[[int, int], NetfsError | None] = lambda start, length: None
    written: list[WrittenNode] = field(default_factory=list)
    next_id: int = 1000

    async def open_writing(
        self, path: str, *, known: FileAttr | None = None, holder: LeaseHolder
    ) -> WrittenNode:
        node = await self._node("open_writing", path)
        return self._opened(node, path, holder)

    def _opened(self, node: Node, path: str, holder: LeaseHolder) -> WrittenNode:
        file = WrittenNode(self, node, path, holder)
        self.open_handles.append(file)
        self.written.append(file)
        return file

    async def create(
        self, path: str, *, exclusive: bool, holder: LeaseHolder
    ) -> tuple[WrittenNode, bool]:
        await self.note("create", path)
        node = self.tree.get(path)
        if node is not None and exclusive:
            raise AlreadyExists(path)
        made = node is None
        if node is None:
            self.next_id += 1
            node = self.tree[path] = Node(file_attr(self.next_id, 0, age=0.0, born=0.0))
        return self._opened(node, path, holder), made

    async def want(self, *, keeps_reads: bool = False) -> None:
        """Another client wants the file that was opened last."""
        file = self.written[-1]
        file.is_leased = False
        await file.holder.give_back(keeps_reads=keeps_reads)
        await trio.lowlevel.checkpoint()
