"""A subrequest: one piece of a file on its way into one buffer, or there already.

States: QUEUED (in the table, nothing sent) -> READING -> FILLED, FAILED or ABANDONED. The last
three are *settled* and final. FILLED may be short: ``transferred < length`` says that the server's
file ended there.

Who counts on the buffer: the table (one reference while *attached*), the task that runs the
subrequest (one, until it is stored or given up), each reader that waits for it or copies from it
(``pin``/``unpin``), and each slice lent to the kernel. An attached subrequest with only the table's
reference is idle, and the pool may evict it.
"""

from __future__ import annotations

import enum
from typing import TYPE_CHECKING

import trio

from netfsfuse.netfs.demand import Demand

if TYPE_CHECKING:
    from netfsfuse.netfs.memory.buffer import Buffer
    from netfsfuse.netfs.memory.mapping import InflightTable
    from netfsfuse.netfs.ops import ServerFile


class Source(enum.Enum):
    """Where the bytes of a slice come from."""

    MEMORY = "memory"  # a subrequest in the table has them, or will have them: join it
    CACHE = "cache"
    SERVER = "server"
    EOF = "eof"  # past the end of file: nothing to read


class State(enum.Enum):
    """How far a subrequest is."""

    QUEUED = "queued"
    READING = "reading"
    FILLED = "filled"
    FAILED = "failed"
    ABANDONED = "abandoned"


class Outstanding:
    """The subrequests of one file handle that are not settled: they use, or will use, its
    ``ServerFile``."""

    __slots__ = ("_empty", "subrequests")

    def __init__(self) -> None:
        self.subrequests: set[Subrequest] = set()
        self._empty: trio.Event | None = None

    def discard(self, sub: Subrequest) -> None:
        """``sub`` is settled."""
        self.subrequests.discard(sub)
        if self._empty is not None and not self.subrequests:
            self._empty.set()
            self._empty = None

    async def wait_empty(self) -> None:
        """Return when nothing is outstanding (at once, without a checkpoint, if nothing is)."""
        while self.subrequests:
            if self._empty is None:
                self._empty = trio.Event()
            await self._empty.wait()


class Subrequest:
    """``[start, start + length)`` of a file: block-aligned, the end cut at i_size.

    ``demand``: how much it is wanted, shared with the ``ServerFile`` that queues it. ``consumed``
    counts bytes given to readers. ``let_go``: detach as soon as the task is done with it.
    ``running``: the task that fills and stores it has not ended. ``cache_only``: it must not turn
    to its ``ServerFile`` when the cache misses.
    """

    __slots__ = (
        "_settled",
        "attached",
        "buffer",
        "cache_only",
        "consumed",
        "debug_id",
        "demand",
        "end",
        "error",
        "file",
        "length",
        "let_go",
        "outstanding",
        "paced",
        "running",
        "scope",
        "source",
        "start",
        "state",
        "table",
        "transferred",
        "waiters",
    )

    def __init__(
        self,
        start: int,
        length: int,
        source: Source,
        buffer: Buffer,
        *,
        file: ServerFile,
        outstanding: Outstanding,
        table: InflightTable,
        debug_id: str,
        urgent: bool,
        paced: bool,
    ) -> None:
        self.start = start
        self.length = length
        self.end = start + length
        self.source = source
        self.buffer = buffer
        self.file = file
        self.outstanding = outstanding
        self.table = table
        self.debug_id = debug_id
        self.demand = Demand(urgent=urgent)
        self.paced = paced
        self.state = State.QUEUED
        self.transferred = 0
        self.consumed = 0
        self.waiters = 0
        self.error: Exception | None = None
        self.scope = trio.CancelScope()
        self.attached = False
        self.cache_only = False
        self.let_go = False
        self.running = False
        self._settled: trio.Event | None = None

    @property
    def is_settled(self) -> bool:
        """Whether the state is final."""
        return self.state not in (State.QUEUED, State.READING)

    @property
    def is_whole(self) -> bool:
        """Whether every byte is there."""
        return self.state is State.FILLED and self.transferred == self.length

    def settle(self, state: State) -> None:
        """Make ``state`` final and wake the waiters."""
        self.state = state
        self.outstanding.discard(self)
        if self._settled is not None:
            self._settled.set()

    async def wait_settled(self) -> None:
        """Return when settled. No checkpoint if it is already. Cancelled: it runs on."""
        if not self.is_settled:
            if self._settled is None:
                self._settled = trio.Event()
            await self._settled.wait()

    def pin(self) -> None:
        """A reader waits for this, or copies from it: keep the buffer, and hurry."""
        self.waiters += 1
        self.demand.raise_()
        self.buffer.hold()

    def unpin(self) -> None:
        """The reader is done with it."""
        self.waiters -= 1
        self.buffer.drop()

    def abandon(self) -> None:
        """If nobody waits for it and the server has not been asked yet, it never will be."""
        if self.waiters or self.demand.sent or self.is_settled or self.source is not Source.SERVER:
            return
        self.table.detach(self)  # first: nobody may join it any more
        if self.state is State.QUEUED:
            self.settle(State.ABANDONED)
        else:
            self.scope.cancel()  # it waits for credits: its task settles it

    def keep_to_cache(self) -> None:
        """Use the ``ServerFile`` no more: a cache read under way may end well, or be abandoned."""
        self.cache_only = True
        self.outstanding.discard(self)

    def evict(self) -> None:
        """For the pool: forget the bytes (see :class:`netfsfuse.netfs.memory.pool.Tenant`)."""
        self.table.detach(self)
