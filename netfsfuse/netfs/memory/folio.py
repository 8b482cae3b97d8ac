"""A folio: some whole cache blocks of a file (the last one cut at its size), in one buffer.

States: FILLING, then CLEAN or VOID, which are final. FILLING: a fill (``io/request.py``) brings the
bytes, readers may wait. CLEAN: the server, or the cache, has the same bytes, so they may go at any
moment. VOID: the bytes never came.

References of the buffer: the mapping holds one while the folio is in it, the task that fills or
stores it one (``start_fill`` to ``end_task``), each reader that waits for it or copies from it one
(``pin``/``unpin``), and so does each slice lent to the kernel. The pool may evict a folio that is
CLEAN, in a mapping, and held by the mapping alone.
"""

from __future__ import annotations

import enum
from typing import Protocol

import trio

from netfsfuse.netfs.memory.buffer import Buffer


class FolioState(enum.Enum):
    """What the bytes of a folio are worth."""

    FILLING = "filling"
    CLEAN = "clean"
    VOID = "void"


TRANSITIONS: dict[FolioState, frozenset[FolioState]] = {
    FolioState.FILLING: frozenset({FolioState.CLEAN, FolioState.VOID}),
    FolioState.CLEAN: frozenset(),
    FolioState.VOID: frozenset(),
}
"""What may follow each state."""


class Fill(Protocol):
    """The I/O that fills a folio."""

    def hurry(self) -> None:
        """A reader waits for the bytes from now on. Idempotent, no checkpoint."""
        ...


class Home(Protocol):
    """Where a folio can be found: its mapping."""

    def detach(self, folio: Folio) -> None:
        """Let go of ``folio``: it is found no more."""
        ...


class Folio:
    """Bytes ``[start, start + length)`` of a file. The caller's buffer reference becomes that of
    the mapping it is attached to.

    ``valid``: how many bytes from ``start`` are there; fewer than ``length`` says that the server's
    file ended there. ``owner``: the open file through which the server is asked, None once it is
    not used for this any more. ``error``: why it is VOID; None if the fill was taken back.
    ``waiters``: readers that have it pinned. ``consumed``: bytes given to readers. ``busy``: a task
    fills or stores it. ``let_go``: to leave its mapping when that task ends. ``outdated``: the file
    was changed after its bytes were asked for, so they are not to be stored any more. ``fill`` is
    set exactly while the state is FILLING and a task is to fill it, ``home`` while it is in a
    mapping.
    """

    __slots__ = (
        "_settled",
        "buffer",
        "busy",
        "consumed",
        "end",
        "error",
        "fill",
        "home",
        "length",
        "let_go",
        "outdated",
        "owner",
        "start",
        "state",
        "valid",
        "waiters",
    )

    def __init__(
        self, start: int, length: int, buffer: Buffer, *, owner: object | None = None
    ) -> None:
        self.start = start
        self.length = length
        self.end = start + length
        self.buffer = buffer
        self.owner = owner
        self.state = FolioState.FILLING
        self.valid = 0
        self.consumed = 0
        self.waiters = 0
        self.error: Exception | None = None
        self.fill: Fill | None = None
        self.home: Home | None = None
        self.busy = False
        self.let_go = False
        self.outdated = False
        self._settled: trio.Event | None = None

    @property
    def is_whole(self) -> bool:
        """Whether every byte is there."""
        return self.valid == self.length and self.state is not FolioState.VOID

    def become(self, state: FolioState) -> None:
        """Go on to ``state``. Raises ``RuntimeError`` if it may not follow the present one."""
        if state not in TRANSITIONS[self.state]:
            raise RuntimeError(f"a {self.state.value} folio cannot become {state.value}")
        self.state = state

    def start_fill(self, fill: Fill) -> None:
        """A task is going to fill it through ``fill``, and holds the buffer until ``end_task``."""
        self.fill = fill
        self.busy = True
        self.buffer.hold()

    def filled(self, valid: int) -> None:
        """The first ``valid`` bytes are there, and no more will come: wake the readers."""
        self.become(FolioState.CLEAN)
        self.valid = valid
        self._settle()

    def failed(self, error: Exception | None) -> None:
        """The bytes will not come, because of ``error`` or (None) because they were called off."""
        self.become(FolioState.VOID)
        self.error = error
        self._settle()

    def _settle(self) -> None:
        self.fill = None  # else the two keep each other for the cyclic collector
        if self._settled is not None:
            self._settled.set()

    async def wait_settled(self) -> None:
        """Return when not FILLING. No checkpoint if it is not. Cancelled: the fill runs on."""
        if self.state is FolioState.FILLING:
            if self._settled is None:
                self._settled = trio.Event()
            await self._settled.wait()

    def end_task(self) -> None:
        """The task that filled it, and perhaps stored it, is through."""
        self.busy = False
        if self.let_go:
            self.unmap()
        self.buffer.drop()

    def pin(self) -> None:
        """A reader waits for it, or copies from it: keep the buffer, and hurry."""
        self.waiters += 1
        if self.fill is not None:
            self.fill.hurry()
        self.buffer.hold()

    def unpin(self) -> None:
        """The reader is done with it."""
        self.waiters -= 1
        self.buffer.drop()

    def unmap(self) -> None:
        """Leave the mapping: it is found no more; readers and tasks that hold it keep it.
        Idempotent."""
        if self.home is not None:
            self.home.detach(self)

    def evict(self) -> None:
        """For the pool, which calls it when idle: forget the bytes and drop the mapping's
        reference."""
        self.unmap()
