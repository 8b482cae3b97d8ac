"""One file that is open for writing, for all its handles: the only orchestrator of writing.

A write is copied once, into a dirty folio, and answered; the writeback task sends it (``behind``).
Where nothing may wait here it is answered when the server has it, on the same way: so the bytes of
several writers may share a request, and what is under way never overlaps.

What a write costs. One that goes on where the last one ended: a copy and some arithmetic; no task,
no event, no checkpoint. The first of a folio: a buffer and a binary search. A WRITE request: one
task, and a turn of the writeback task.

Sizes: ``i_size`` is what programs see. ``Contents.i_size`` stays what the server's file has as far
as it answered; reads below are clamped there, and what lies between is zeros. While the size is
being changed no write is taken: it would be cut off, or would extend the file again.
"""

from __future__ import annotations

from collections.abc import Callable

import trio

from netfsfuse.errors import DeadlineExceeded
from netfsfuse.netfs.io.contents import Contents
from netfsfuse.netfs.memory.buffer import Buffer
from netfsfuse.netfs.ops import WritableFile
from netfsfuse.netfs.write.dirty import DirtyFolio, Ticket
from netfsfuse.netfs.write.errseq import ErrSeq
from netfsfuse.netfs.write.outlet import Outlet
from netfsfuse.netfs.write.overlay import Bytes, Underlay, read_over
from netfsfuse.netfs.write.writeback import Writeback


class Writing:
    """Made by ``NetfsInode.begin_writing``, closed by its caller. ``file`` stays the caller's, who
    closes it afterwards. ``on_closed`` is called when nothing more will be done through it."""

    def __init__(
        self,
        contents: Contents,
        file: WritableFile,
        outlet: Outlet,
        *,
        behind: bool,
        on_closed: Callable[[], None],
    ) -> None:
        self._contents = contents
        self._file = file
        self._outlet = outlet
        self._back = Writeback(contents, file, outlet)
        self._folios = self._back.folios
        self._stats = outlet.stats
        self._on_closed = on_closed
        self._behind = behind
        self._resize_lock = trio.Lock()
        self._resized: trio.Event | None = None  # set while the size is being changed
        self._closed: trio.Event | None = None
        self._plain = behind  # a write may be taken at once
        contents.guard = self._back.changes

    @property
    def i_size(self) -> int:
        """The file's size as programs see it."""
        return self._back.i_size

    @property
    def dirty_bytes(self) -> int:
        """Bytes that the server does not have yet."""
        return self._folios.size

    @property
    def errors(self) -> ErrSeq:
        """Failures of bytes whose writer had been told that all is well."""
        return self._back.errors

    @property
    def behind(self) -> bool:
        """Whether a write is answered before the server has it. May be set at any time; counts for
        the writes that begin afterwards."""
        return self._behind

    @behind.setter
    def behind(self, behind: bool) -> None:
        self._behind = behind
        self._note_plain()

    def _note_plain(self) -> None:
        self._plain = self._behind and self._resized is None and self._closed is None

    async def write(self, start: int, data: bytes | memoryview, *, through: bool = False) -> None:
        """Write ``data`` at ``start``, all of it. It may be changed when this returns.

        ``through``, not ``behind``, or the inode retired: returns when the server has the bytes, or
        raises why it has not. Else it waits for memory at most. Raises ``DeadlineExceeded`` when it
        waits and the server took nothing for 30 seconds; what was not refused by then stays dirty.
        Cancelled: each byte either was not taken, or stays dirty and will be written.
        """
        stats = self._stats
        stats.writes += 1
        stats.bytes += len(data)
        folio = self._folios.last
        end = start + len(data)
        if (
            folio is None
            or folio.end != start
            or end > folio.room
            or not self._plain
            or through
            or self._contents.retired
        ):
            if data:
                await self._write_slowly(start, memoryview(data), through)
            return
        base = folio.base
        folio.buffer.payload[start - base : end - base] = data
        self._folios.grown(folio, end)
        folio.behind = True
        stats.note_dirty(end - start)
        if end > self._back.i_size:
            self._back.i_size = end
        if end == folio.limit:
            self._back.push(folio)
            self._back.pump()

    async def drain(self) -> None:
        """Return when all that is dirty now is on the server, or has failed (``errors``). Raises
        ``DeadlineExceeded`` when no byte was answered for 30 seconds; nothing is given up then."""
        if self._folios:
            await self._back.wait(self._folios, Ticket())

    async def flush(self) -> None:
        """As :meth:`drain`; then what was written is on the server's disk as well. Raises a
        ``NetfsError`` of that."""
        await self.drain()
        await self._file.flush()

    async def truncate(self, size: int) -> None:
        """Cut the file at ``size`` bytes, or extend it with zeros, on the server and here. What is
        dirty below is written first. Raises a ``NetfsError``, and nothing dirty was given up."""
        async with self._resize_lock:
            self._resized = trio.Event()
            self._note_plain()
            try:
                await self._set_size(size)
            finally:
                resized, self._resized = self._resized, None
                self._note_plain()
                self._back.release()
                resized.set()

    async def _set_size(self, size: int) -> None:
        back, contents = self._back, self._contents
        if size < back.i_size:
            back.hold(size)
            below = [folio for folio in self._folios.dirty if folio.start < size]
            await back.wait([*below, *self._folios.sending(0)], Ticket())
            await back.changes.prepare(size, max(back.i_size, contents.i_size))
        else:
            back.hold(contents.i_size)
            await back.changes.prepare(back.i_size, size)
        await self._file.set_size(size)
        back.cut(size)
        contents.resize(size, keeps_cache=True)
        back.i_size = size

    async def read(self, reader: Underlay, start: int, size: int) -> Bytes:
        """The bytes of ``[start, start + size)`` as they were written, short only at ``i_size``;
        what is not here is read by ``reader``. A ``memoryview`` is lent, as that of
        ``NetfsFile.read``."""
        contents = self._contents
        end = start + size
        below = end <= contents.i_size or contents.i_size >= self._back.i_size or contents.retired
        if below and not self._folios.overlaps(start, end):
            answer = reader.read_now(start, size)
            return await reader.read(start, size) if answer is None else answer
        if contents.live:
            end = min(end, self._back.i_size)
        if start >= end:
            return b""
        answer, counted = await read_over(self._folios, contents, reader, start, end)
        application = self._outlet.issuer.stats.application
        application.bytes += len(answer) - counted
        application.reads += not counted
        application.joined += 1
        return answer

    async def aclose(self) -> None:
        """Return when nothing is dirty, and what was written is stored in the cache, or will not
        be. Idempotent. Cancelled: it goes on in the service nursery."""
        if self._closed is None:
            self._closed = trio.Event()
            self._note_plain()
            try:
                self._outlet.issuer.nursery.start_soon(self._finish, self._closed)
            except RuntimeError:  # the mount is gone, and so is all that was dirty
                self._end(self._closed)
        await self._closed.wait()

    async def _finish(self, closed: trio.Event) -> None:
        try:
            while self._folios:
                try:
                    await self.drain()
                except DeadlineExceeded:
                    continue
            await self._back.wait_idle()
            await self._back.changes.finish()
        finally:
            self._end(closed)

    def _end(self, closed: trio.Event) -> None:
        self._contents.guard = None
        self._on_closed()
        closed.set()

    async def _write_slowly(self, start: int, data: memoryview, through: bool) -> None:
        waits = through or not self._behind or self._contents.retired
        ticket = Ticket()
        folios: list[DirtyFolio] = []
        position, end = start, start + len(data)
        try:
            while position < end:
                rest = data[position - start :]
                folio, taken = await self._take(position, rest)
                position += taken
                if folio.end == folio.limit:
                    self._back.push(folio)
                if waits or not folio.withheld:
                    ticket.watch(folio)
                    folios.append(folio)
                else:
                    folio.behind = True
                if not folio.withheld:
                    await self._back.wait(folios, ticket)
            if folios:
                await self._back.wait(folios, ticket)
            else:
                self._back.pump()
        except BaseException:
            for folio in folios:
                folio.behind = True  # its writer will not hear of it
            self._back.pump()
            raise
        if ticket.error is not None:
            raise ticket.error

    async def _take(self, start: int, data: memoryview) -> tuple[DirtyFolio, int]:
        """Take the first bytes of ``data`` into a folio, when there is memory; how many."""
        buffer: Buffer | None = None
        withheld = True
        while True:
            while self._resized is not None:
                if buffer is not None:
                    self._give_back(buffer, withheld)
                    buffer = None
                await self._resized.wait()
            if self._closed is not None and not self._folios:
                raise RuntimeError("write to a file that is not open for writing any more")
            before = self._folios.size
            taken = self._folios.put(start, data)
            if taken:
                if buffer is not None:
                    self._give_back(buffer, withheld)
                folio = self._folios.last
                assert folio is not None
                break
            if buffer is None:
                capacity = self._folios.capacity_for(start, start + len(data))
                buffer = self._outlet.buffer_nowait(capacity)
                withheld = True
                if buffer is None:
                    buffer, withheld = await self._wait_buffer(capacity)
                    continue
            folio = self._folios.add(start, data, buffer, trio.current_time())
            folio.withheld = withheld
            taken = folio.end - start
            self._back.rest(folio)
            break
        self._stats.note_dirty(self._folios.size - before)
        self._back.i_size = max(self._back.i_size, start + taken)
        return folio, taken

    async def _wait_buffer(self, capacity: int) -> tuple[Buffer, bool]:
        """A buffer, and whether it counts as withheld."""
        buffer = await self._outlet.buffer(capacity)
        if buffer is not None:
            return buffer, True
        return await self._outlet.issuer.pool.acquire(capacity), False

    def _give_back(self, buffer: Buffer, withheld: bool) -> None:
        if withheld:
            self._outlet.release(buffer)
        else:
            buffer.drop()
