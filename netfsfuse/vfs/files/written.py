"""A file as long as any program here has it open for writing.

All its handles on this mount, those that only read as well, go through one server handle and one
content. There are two ways, chosen by what the server granted when the file was opened:

* *behind*: no other SMB client reads or writes the file before we are told (a write lease; or the
  mount is ``loose``). What is written waits here and is sent in the background; what is read is
  kept. Size and times are those made here (``Inode.is_ruled``), until the handle is closed and the
  server has said what they are.
* *through*: a write is answered when the server has it, a read asks the server, nothing is kept.

When another client wants the file the first way becomes the second (``WrittenFile.give_back``).

Times that a program sets, or has seen since it wrote, are set on the server by the handle that
wrote, with the data; times set in any other way are lost when that handle is closed.
"""

from __future__ import annotations

import logging
import math
import time
from collections.abc import Awaitable, Callable
from contextlib import ExitStack
from typing import Protocol

import trio

from netfsfuse.errors import NetfsError, NotSupported, Stale
from netfsfuse.netfs import NetfsFile
from netfsfuse.netfs.write.write import Writing
from netfsfuse.types import FileAttr, ServerTime
from netfsfuse.vfs.contents import Content
from netfsfuse.vfs.files.mapped import may_be_mapped
from netfsfuse.vfs.inodes.inodes import Inode
from netfsfuse.vfs.ops import WritableOpenFile

log = logging.getLogger(__name__)

_SECOND = 1_000_000_000  # ns
_UNIT = 100
"""ns: servers keep times as multiples of that, and would show others than were shown here."""

COARSE = 0.01
"""Seconds by which a server's files may be stamped too early: Linux does it by its tick."""


class WrittenFiles(Protocol):
    """What a written file asks of the table that it is in."""

    def server_time(self) -> ServerTime:
        """The server's clock, now."""
        ...

    def through(self, written: WrittenFile, *, keeps_reads: bool) -> None:
        """Another client has the file as well from now on: nothing more is kept of it. Without
        ``keeps_reads`` what was read is to be forgotten by the kernel too."""
        ...

    def forget_pages(self, inode: Inode) -> None:
        """What the kernel has of the file is not what the file holds."""
        ...


class WrittenFile:
    """One inode's. ``users``: open handles. It has neither server handle nor content before
    :meth:`begin`, nor after :meth:`end`."""

    def __init__(self, inode: Inode, owner: WrittenFiles) -> None:
        self.inode = inode
        self.users = 0
        self.is_behind = False
        self.lock = trio.Lock()
        """Opening and closing on the server, one at a time."""
        self.expecting = ExitStack()
        """What stands round its changes until it is closed."""
        self._kernel_size = inode.attr.size
        self.opened_as = inode.attr
        """What the server said when it was opened."""
        self._owner = owner
        self._file: WritableOpenFile | None = None
        self._content: Content | None = None
        self._writing: Writing | None = None
        self._reader: NetfsFile | None = None
        self._access: int | None = None
        self._write: int | None = None  # a time that the server is still to be told
        self._changed_at: float | None = None  # when, while ``attr`` has not got that time (trio)
        self._is_moved = False  # whether bytes were written since a time was set or shown
        self._is_shown = False
        self._is_set = False  # on the server, whose writes by this handle do not move it any more

    @property
    def is_open(self) -> bool:
        """Whether the server has it open for us."""
        return self._file is not None

    @property
    def file(self) -> WritableOpenFile:
        """The server's handle. Raises Stale where there is none."""
        if self._file is None:
            raise Stale(f"{self.inode.path!r} is closed")
        return self._file

    @property
    def content(self) -> Content:
        """The content. Raises Stale where there is none."""
        if self._content is None:
            raise Stale(f"{self.inode.path!r} is closed")
        return self._content

    @property
    def writing(self) -> Writing:
        """Its dirty bytes. Raises Stale where it is not open."""
        if self._writing is None:
            raise Stale(f"{self.inode.path!r} is closed")
        return self._writing

    def begin(self, file: WritableOpenFile, content: Content, *, behind: bool) -> None:
        """It is open on the server as ``file``, with ``content``, both its own from now on."""
        self._file, self._content = file, content
        self.opened_as = file.attr
        self.is_behind = behind
        self._access = self._write = self._changed_at = None
        self._is_moved = self._is_shown = self._is_set = False
        self._writing = content.netfs.begin_writing(file, behind=self.is_behind)
        self._reader = content.netfs.open(file) if file.may_read else None
        self.inode.is_ruled = self.is_behind
        self.inode.written = self

    # -- bytes --------------------------------------------------------------------------------

    async def read(self, reader: NetfsFile | None, start: int, size: int) -> memoryview | bytes:
        """The bytes as they are here. ``reader``: the caller's own, if it has this content."""
        own = reader if reader is not None and self._shares(reader) else self._reader
        if own is None:
            raise Stale(f"{self.inode.path!r} cannot be read")
        return await self.writing.read(own, start, size)

    def _shares(self, reader: NetfsFile) -> bool:
        return self._content is not None and reader.reads(self._content.netfs)

    async def write(self, start: int, data: bytes, *, append: bool, through: bool) -> None:
        """Write all of ``data``. ``append``: at the end of the file, wherever the caller takes it
        to be. ``through``: return when the server has it."""
        append = append and not may_be_mapped(start, len(data), self._kernel_size)
        self._kernel_size = max(self._kernel_size, start + len(data))
        if append and not self.is_behind:
            end = await self._append(data)
        else:
            end = self.writing.i_size if append else start
            await self.writing.write(end, data, through=through)
        self._change(end + len(data))
        if end != start:
            # It is in the kernel's pages where the kernel took the end to be: another client has
            # appended since it was told of it, and open(2) with O_APPEND does not ask.
            self._owner.forget_pages(self.inode)

    async def _append(self, data: bytes) -> int:
        """Another client may append as well. Returns where it was written."""
        await self.writing.drain()  # of before the lease was given back: the server's end is behind
        try:
            async with self.file.appending() as end:
                await self.writing.write(end, data, through=True)
                return end
        except NotSupported:  # no locks: then as near as can be
            end = (await self.file.query()).size
            await self.writing.write(end, data, through=True)
            return end

    def _change(self, end: int, *, exactly: bool = False) -> None:
        """Bytes up to ``end`` were written, or the file ends ``exactly`` there from now on. Its
        times are looked up when they are asked for: a write of 4 KiB has 50 us in all."""
        inode = self.inode
        attr = inode.attr
        inode.changed_at = self._changed_at = trio.current_time()
        if end > attr.size:
            inode.attr = attr._replace(size=end, allocation=max(attr.allocation, end))
        elif exactly:
            inode.attr = attr._replace(size=end, allocation=min(attr.allocation, end))
        if not self.is_behind:
            self._take_time()
            inode.attr_until = 0.0

    def _take_time(self) -> None:
        """The times in ``inode.attr`` become those of the last change."""
        if self._changed_at is None:
            return
        now = _as_kept(self._now() - int((trio.current_time() - self._changed_at) * _SECOND))
        self._changed_at = None
        if not self.is_behind and now < self.inode.attr.write < now + _SECOND:
            now = self.inode.attr.write  # that was the server's own, and ``_now`` is cautious
        if self._write is not None:
            self._write = now
        self._is_moved = True
        self.inode.attr = self.inode.attr._replace(write=now, change=now)

    async def truncate(self, size: int) -> None:
        """Cut it at ``size`` bytes, or extend it with zeros."""
        await self.writing.truncate(size)
        self._change(size, exactly=True)

    async def empty(self) -> None:
        """As open(2) with O_TRUNC: the kernel takes it to be empty."""
        if self.inode.attr.size:
            await self.truncate(0)
        self._kernel_size = 0

    async def drain(self) -> None:
        """Return when the server has what was written and the times that were set, or has refused
        it: the handles are told by ``Writing.errors``. Raises what setting times meets."""
        self._take_time()
        if self._is_moved and (self._is_shown or self._is_set) and self._write is None:
            self._write = self.inode.attr.write
        try:
            await self._send_all()
        finally:
            self._take_size()

    def _take_size(self) -> None:
        """Bytes at the end that the server has refused are not in the file."""
        writing, inode = self._writing, self.inode
        if writing is not None and self.is_behind and writing.i_size < inode.attr.size:
            inode.attr = inode.attr._replace(size=writing.i_size)
            inode.changed_at = trio.current_time()

    async def _send_all(self) -> None:
        """Data and times at once; a time set by the handle that writes stays as it was set."""
        if self._access is None and self._write is None:
            await self.writing.drain()
            return
        failures: list[NetfsError] = []

        async def run(call: Callable[[], Awaitable[None]]) -> None:
            try:
                await call()
            except NetfsError as failed:
                failures.append(failed)

        async with trio.open_nursery() as nursery:
            nursery.start_soon(run, self.writing.drain)
            await run(self._send_times)
        if failures:
            raise failures[0]

    async def flush(self) -> None:
        """As :meth:`drain`, and the server has it on its disk."""
        await self.drain()
        await self.writing.flush()

    # -- times --------------------------------------------------------------------------------

    async def set_times(self, *, access: int | None, write: int | None) -> None:
        """Set times, in ns since 1970. Behind, the server is told with the data."""
        self._take_time()
        inode = self.inode
        attr = inode.attr
        if access is not None:
            access = _as_kept(access)
            self._access, attr = access, attr._replace(access=access)
        if write is not None:
            write = _as_kept(write)
            self._write, attr = write, attr._replace(write=write)
            self._is_moved = False
        inode.attr = attr._replace(change=self._now())
        inode.changed_at = trio.current_time()
        if not self.is_behind:
            inode.attr_until = 0.0
            await self._send_times()

    async def _send_times(self) -> None:
        access, write = self._access, self._write
        self._access = self._write = None
        if write is not None:
            self._is_moved = self._is_shown = False
            self._is_set = True
        await self.file.set_times(access=access, write=write)

    def told(self, size: int) -> None:
        """The kernel is told that the file has ``size`` bytes, and the times that are here."""
        self._kernel_size = size
        if self.is_behind:
            self.shown()

    def shown(self) -> None:
        """A program is about to see size and times as they are here: it may remember them, and they
        are to stay. Those of before the first change the server has."""
        self._take_time()
        if self._is_moved:
            self._is_shown = True

    def _now(self) -> int:
        """The server's clock in ns since 1970; ours where the server does not state it."""
        earliest, latest, _ = self._owner.server_time()
        if math.isinf(earliest):
            return _as_kept(time.time_ns())
        if not self.is_behind:  # the server's own will be shown: not an earlier one
            return _as_kept(int((earliest - COARSE) * _SECOND))
        return _as_kept(int((earliest + latest) / 2 * _SECOND))

    # -- the end ------------------------------------------------------------------------------

    async def give_back(self, *, keeps_reads: bool) -> None:
        """Keeps the contract of ``LeaseHolder.give_back``."""
        if self._writing is None:
            return
        was_behind, self.is_behind = self.is_behind, False
        self._writing.behind = False
        try:
            if was_behind:
                await self.drain()
        except NetfsError as failed:
            log.warning("%r: another client has opened it: %s", self.inode.path, failed)
        finally:
            self.inode.is_ruled = False
            self._owner.through(self, keeps_reads=keeps_reads)

    async def end(self) -> tuple[Content, FileAttr | None, float]:
        """The last handle is closed: send what is left, and close it on the server. Returns the
        content, which is the caller's from now on, the attributes that the file has, None where the
        server did not tell, and when it was asked for them (trio clock). Raises nothing but
        Cancelled, and then it is closed all the same. ``inode.is_ruled`` is the caller's to end."""
        file, content, writing = self.file, self.content, self.writing
        attr = None
        try:
            try:
                await self.drain()
                await writing.aclose()
                if self._is_moved and self._is_shown:  # a program has seen it meanwhile
                    self._write = self.inode.attr.write
                    await self._send_times()
            except NetfsError as failed:
                log.warning("%r: at its close: %s", self.inode.path, failed)
                await writing.aclose()
        finally:
            # From here on the server has all, and a reader's own handle will do.
            self.inode.written = None
            reader = self._reader
            self._writing = self._file = self._content = self._reader = None
            with trio.CancelScope(shield=True):
                if reader is not None:
                    await reader.aclose()
                asked = trio.current_time()
                attr = await file.finish()
        return content, attr, asked


def _as_kept(time_ns: int) -> int:
    """``time_ns`` as a server keeps it."""
    return time_ns - time_ns % _UNIT
