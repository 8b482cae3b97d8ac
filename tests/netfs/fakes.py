"""A server and a cache that misbehave on demand, on trio's clock, and record what was asked."""

from __future__ import annotations

import random
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

import trio
import trio.testing

from netfsfuse.config import ReadConfig
from netfsfuse.errors import Stale
from netfsfuse.netfs import PAGE, Buffer, Netfs, NetfsInode
from netfsfuse.netfs.demand import Demand
from netfsfuse.stats import Stats
from netfsfuse.types import CACHE_BLOCK, ByteRange, FileAttr

KIB = 1024
MIB = 1024 * KIB
NOISE = random.Random(20210101).randbytes(16 * MIB)


class Misuse(BaseException):
    """The library broke a contract. No Exception, because the library takes those in its stride."""


def insist(condition: bool, message: str) -> None:
    """Fail the test, whatever catches exceptions in between."""
    if not condition:
        raise Misuse(message)


@dataclass
class Asked:
    """One READ as the server saw it."""

    start: int
    length: int
    urgent: bool


class FakeServer:
    """One file. ``latency`` in virtual seconds; ``short(start, length)`` says how many bytes to
    give; ``fail(start)`` returns an exception to raise, or None; ``gate`` holds all answers.
    ``credits`` holds what nobody waits for before it is sent, as a server that grants too few does.

    ``written``: WRITEs in order of sending. ``takes(start, length)`` says how many bytes of one it
    takes, ``refuse(start)`` returns an exception to raise instead, ``write_gate`` holds all
    answers, ``pause()`` is the latency of one WRITE, which happens at its end, or ``early()``.
    """

    def __init__(self, content: bytes, *, latency: float = 0.01) -> None:
        self.content: bytes | bytearray = content
        self.written: list[Asked] = []
        self.takes: Callable[[int, int], int] = lambda start, length: length
        self.refuse: Callable[[int], Exception | None] = lambda start: None
        self.write_gate: trio.Event | None = None
        self.pause: Callable[[], float] = lambda: self.latency
        self.early: Callable[[], bool] = lambda: False
        self.writes_under_way: list[ByteRange] = []
        self.writes_peak = 0
        self.flushes = 0
        self.sizes_set: list[int] = []
        self.latency = latency
        self.short: Callable[[int, int], int] = lambda start, length: length
        self.fail: Callable[[int], Exception | None] = lambda start: None
        self.gate: trio.Event | None = None
        self.credits: trio.Event | None = None
        self.queued = 0
        self.asked: list[Asked] = []
        self.in_flight = 0
        self.in_flight_peak = 0
        self.cancelled = 0

    @property
    def bytes_asked(self) -> int:
        return sum(one.length for one in self.asked)

    def open(self) -> FakeServerFile:
        return FakeServerFile(self)

    def resized(self, size: int) -> None:
        """The file is going to be cut or extended at this moment."""

    def store(self, start: int, data: bytes) -> None:
        """Bytes arrive."""
        if not isinstance(self.content, bytearray):
            self.content = bytearray(self.content)
        self.content.extend(bytes(max(start - len(self.content), 0)))
        self.content[start : start + len(data)] = data


class FakeServerFile:
    """A handle of it. Using it after ``closed`` is set is a failure of the library."""

    def __init__(self, server: FakeServer) -> None:
        self.server = server
        self.closed = False
        self.reads = 0

    async def read(
        self, start: int, length: int, buffer: Buffer, at: int, *, demand: Demand
    ) -> int:
        server = self.server
        insist(not self.closed, "ServerFile used after its handle was closed")
        insist(0 < length <= buffer.capacity - at, "bad length")
        insist(buffer.references > 0, "read into a free buffer")
        self.reads += 1
        if server.credits is not None and not demand.urgent:
            await self._queue(server.credits, demand)
        demand.sent = True
        server.asked.append(Asked(start, length, demand.urgent))
        server.in_flight += 1
        server.in_flight_peak = max(server.in_flight_peak, server.in_flight)
        try:
            if server.gate is not None:
                await server.gate.wait()
            await trio.sleep(server.latency)
        except trio.Cancelled:
            server.cancelled += 1
            raise
        finally:
            server.in_flight -= 1
        insist(not self.closed, "ServerFile closed with a read in flight")
        failure = server.fail(start)
        if failure is not None:
            raise failure
        data = bytes(server.content[start : start + length])
        data = data[: max(1, server.short(start, len(data)))] if data else b""
        # A header is received just below the payload; what was there before is put back.
        low = PAGE + at - 64
        saved = bytes(buffer.memory[low : PAGE + at])
        buffer.memory[low : PAGE + at] = bytes(64)
        buffer.payload[at : at + len(data)] = data
        buffer.memory[low : PAGE + at] = saved
        return len(data)

    async def write(
        self, start: int, length: int, buffer: Buffer, at: int, *, demand: Demand
    ) -> int:
        server = self.server
        insist(not self.closed, "WritableFile used after its handle was closed")
        insist(0 < length <= buffer.capacity - at, "bad length")
        insist(buffer.references > 0, "write from a free buffer")
        mine = ByteRange(start, start + length)
        insist(
            all(one.end <= start or mine.end <= one.start for one in server.writes_under_way),
            "two WRITEs that overlap are under way",
        )
        if server.credits is not None and not demand.urgent:
            await self._queue(server.credits, demand)
        demand.sent = True
        data = bytes(buffer.payload[at : at + length])
        # The header stands just below the payload, and something above, until the answer.
        low, high = PAGE + at - 64, PAGE + at + length
        saved = bytes(buffer.memory[low : PAGE + at]), bytes(buffer.memory[high : high + 16])
        buffer.memory[low : PAGE + at], buffer.memory[high : high + 16] = b"h" * 64, b"t" * 16
        server.written.append(Asked(start, length, demand.urgent))
        server.writes_under_way.append(mine)
        server.writes_peak = max(server.writes_peak, len(server.writes_under_way))
        taken = min(length, max(1, server.takes(start, length)))
        failure = server.refuse(start)
        early = server.early()
        try:
            if early and failure is None:
                server.store(start, data[:taken])
            if server.write_gate is not None:
                await server.write_gate.wait()
            await trio.sleep(server.pause())
            if not early and failure is None:
                server.store(start, data[:taken])
        finally:
            server.writes_under_way.remove(mine)
            insist(bytes(buffer.payload[at : at + length]) == data, "a payload changed under way")
            buffer.memory[low : PAGE + at], buffer.memory[high : high + 16] = saved
        if failure is not None:
            raise failure
        return taken

    async def flush(self) -> None:
        insist(not self.closed, "WritableFile used after its handle was closed")
        self.server.flushes += 1
        await trio.sleep(self.server.latency)

    async def set_size(self, size: int) -> None:
        insist(not self.closed, "WritableFile used after its handle was closed")
        server = self.server
        insist(
            all(one.end <= size for one in server.writes_under_way),
            "cut while a WRITE beyond is under way",
        )
        failure = server.refuse(size)
        await trio.sleep(server.latency)
        if failure is not None:
            raise failure
        server.sizes_set.append(size)
        server.resized(size)
        server.content = (bytes(server.content) + bytes(max(size - len(server.content), 0)))[:size]
        await trio.sleep(server.latency)

    async def _queue(self, credits: trio.Event, demand: Demand) -> None:
        raised = trio.Event()
        demand.on_raise = raised.set
        self.server.queued += 1
        try:
            async with trio.open_nursery() as nursery:
                for event in (credits, raised):
                    nursery.start_soon(_wait_and_cancel, event, nursery.cancel_scope)
        finally:
            demand.on_raise = None
            self.server.queued -= 1
        await trio.lowlevel.checkpoint_if_cancelled()


async def _wait_and_cancel(event: trio.Event, scope: trio.CancelScope) -> None:
    await event.wait()
    scope.cancel()


@dataclass
class FakeCache:
    """One cached file of ``size`` bytes. ``lies``: blocks it says it has, until it reads them.

    ``store_gate`` / ``read_gate`` / ``query_gate``: while not None, the operation hangs on it.
    ``refuse_changes``: what begins or ends changes says False, and the object is over.
    ``restamped``: what it was restamped as last.
    """

    size: int
    blocks: dict[int, bytes] = field(default_factory=dict)
    lies: set[int] = field(default_factory=set)
    refuse: bool = False
    error: Exception | None = None
    store_delay: float = 0.0
    store_gate: trio.Event | None = None
    read_gate: trio.Event | None = None
    query_gate: trio.Event | None = None
    queries: int = 0
    reads: list[ByteRange] = field(default_factory=list)
    writes: list[ByteRange] = field(default_factory=list)
    writing: int = 0
    writing_peak: int = 0
    closed: int = 0
    refuse_changes: bool = False
    changing: bool = False
    over: bool = False
    discards: list[ByteRange] = field(default_factory=list)
    storing: list[set[int]] = field(default_factory=list)
    restamped: FileAttr | None = None

    def fill(self, content: bytes, start: int = 0, end: int | None = None) -> None:
        """Store ``content``'s blocks of ``[start, end)``."""
        for block in range(start // CACHE_BLOCK, -(-(end or len(content)) // CACHE_BLOCK)):
            self.blocks[block] = content[block * CACHE_BLOCK : (block + 1) * CACHE_BLOCK]

    def _raise(self) -> None:
        if self.error is not None:
            raise self.error

    async def query_occupancy(self, start: int, end: int) -> list[ByteRange]:
        self._check(start, end)
        self.queries += 1
        if self.query_gate is not None:
            await self.query_gate.wait()
        await trio.lowlevel.checkpoint()
        self._raise()
        if self.over:
            return []
        there = sorted(set(self.blocks) | self.lies)
        return [
            ByteRange(block * CACHE_BLOCK, min((block + 1) * CACHE_BLOCK, self.size))
            for block in there
            if start <= block * CACHE_BLOCK < end
        ]

    def _check(self, start: int, end: int) -> range:
        insist(not self.closed, "cache object used after it was closed")
        insist(start % CACHE_BLOCK == 0, "unaligned start")
        insist(end % CACHE_BLOCK == 0 or end == self.size, "unaligned end")
        return range(start // CACHE_BLOCK, -(-end // CACHE_BLOCK))

    async def read(self, start: int, target: memoryview) -> bool:
        blocks = self._check(start, start + len(target))
        self.reads.append(ByteRange(start, start + len(target)))
        if self.read_gate is not None:
            with trio.CancelScope(shield=True):  # a thread with the caller's buffer
                await self.read_gate.wait()
        await trio.lowlevel.checkpoint()
        self._raise()
        for block in blocks:
            at = block * CACHE_BLOCK - start
            room = target[at : at + CACHE_BLOCK]
            if self.over or block in self.lies or block not in self.blocks:
                room[:] = b"\xee" * len(room)  # undefined, and must never be seen
                self.lies.discard(block)
                self.blocks.pop(block, None)
                return False
            room[:] = self.blocks[block]
        return True

    async def write(self, start: int, data: memoryview) -> bool:
        blocks = self._check(start, start + len(data))
        self.writes.append(ByteRange(start, start + len(data)))
        self.writing += 1
        self.writing_peak = max(self.writing_peak, self.writing)
        mine = set(blocks)
        self.storing.append(mine)
        try:
            if self.store_gate is not None:
                with trio.CancelScope(shield=True):
                    await self.store_gate.wait()
            await trio.sleep(self.store_delay)
        finally:
            self.writing -= 1
            self.storing = [other for other in self.storing if other is not mine]
        self._raise()
        if self.refuse or self.over:
            return False
        for block in sorted(mine):
            at = block * CACHE_BLOCK - start
            self.blocks[block] = bytes(data[at : at + CACHE_BLOCK])
            self.lies.discard(block)
        return True

    async def begin_changes(self) -> bool:
        insist(not self.closed, "cache object used after it was closed")
        await trio.lowlevel.checkpoint()
        self.changing = not (self.over or self.refuse_changes)
        self.over = not self.changing
        return self.changing

    async def discard(self, start: int, end: int) -> bool:
        insist(self.changing or self.over, "discard before begin_changes")
        insist(start % CACHE_BLOCK == 0, "unaligned start")
        for block in range(start // CACHE_BLOCK, -(-end // CACHE_BLOCK)):
            self.blocks.pop(block, None)
            self.lies.discard(block)
            for storing in self.storing:
                storing.discard(block)
        self.discards.append(ByteRange(start, end))
        await trio.lowlevel.checkpoint()
        return not self.over

    async def resize(self, size: int) -> bool:
        insist(not self.closed, "cache object used after it was closed")
        insist(self.changing or self.over, "resize before begin_changes")
        if size != self.size:
            kept = min(size, self.size) // CACHE_BLOCK
            self.blocks = {block: data for block, data in self.blocks.items() if block < kept}
            self.size = size
        await trio.lowlevel.checkpoint()
        return not self.over

    async def restamp(self, attr: FileAttr) -> bool:
        insist(not self.closed, "cache object used after it was closed")
        insist(not self.writing, "restamped with a store in flight")
        insist(attr.size == self.size, "restamped with another size")
        await trio.lowlevel.checkpoint()
        self.changing = False
        self.over = self.over or self.refuse_changes
        self.restamped = None if self.over else attr
        return not self.over

    async def aclose(self) -> None:
        insist(not self.writing, "closed with a store in flight")
        self.closed += 1


@dataclass
class Mounted:
    """A Netfs with its statistics, for a test."""

    netfs: Netfs
    stats: Stats

    def inode(self, size: int, cache: FakeCache | None = None) -> NetfsInode:
        return self.netfs.inode(i_size=size, cache=cache, debug_name="test")


@asynccontextmanager
async def mounted(
    *,
    rsize: int = MIB,
    fixed: bool = True,
    rasize: int | None = None,
    buffers: int = 96 * MIB,
    capacity: int = 512 * MIB,
    wsize: int | None = None,
) -> AsyncIterator[Mounted]:
    """A Netfs in its own service nursery. When the test is through, no buffer may be out."""
    stats = Stats()
    config = ReadConfig(rsize=rsize if fixed else None, rasize=rasize, buffers=buffers)
    async with trio.open_nursery() as nursery:
        netfs = Netfs(
            nursery=nursery,
            config=config,
            stats=stats,
            rsize=rsize,
            capacity=lambda: capacity,
            wsize=wsize,
        )
        yield Mounted(netfs, stats)
        await netfs.drain()
        await trio.testing.wait_all_tasks_blocked()
        assert not nursery.child_tasks, "tasks left in the service nursery"
        assert netfs.pool.in_use == 0, "buffers not given back"


def stale() -> Exception:
    """A failure of the server."""
    return Stale("made up by the test")


async def read_all(file, size, piece=128 * KIB):
    """The whole file in pieces, as cat reads it."""
    out = bytearray()
    while True:
        data = bytes(await file.read(len(out), piece))  # the lent buffer goes back now
        out += data
        if len(data) < piece:
            assert len(out) == size
            return bytes(out)
