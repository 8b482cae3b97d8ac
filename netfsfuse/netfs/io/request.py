"""A subrequest: the I/O that fills one folio, from a source.

States: QUEUED (the folio is in the mapping, nothing is sent) -> READING -> FILLED, FAILED or
ABANDONED. The last three are *settled* and final; the folio is then CLEAN, or VOID with or without
an error. FILLED may be short: the server's file ended there.

The subrequest ends with the I/O, the folio stays: a folio knows its subrequest only while that is
under way (:func:`filling`).
"""

from __future__ import annotations

import enum

import trio

from netfsfuse.idle import Idle
from netfsfuse.netfs.demand import Demand
from netfsfuse.netfs.memory.folio import Folio
from netfsfuse.netfs.ops import ServerFile


class Source(enum.Enum):
    """Where the bytes of a slice come from."""

    MEMORY = "memory"  # a folio in the mapping has them, or will have them: join it
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
        self._empty = Idle()

    def discard(self, sub: Subrequest) -> None:
        """``sub`` is settled."""
        self.subrequests.discard(sub)
        if not self.subrequests:
            self._empty.wake()

    async def wait_empty(self) -> None:
        """Return when nothing is outstanding (at once, without a checkpoint, if nothing is)."""
        await self._empty.wait(lambda: self.subrequests)


class Subrequest:
    """The filling of ``folio`` from ``source`` (which turns to SERVER when the cache misses).

    ``demand``: how much it is wanted, shared with the ``ServerFile`` that queues it.
    ``transferred``: bytes that are there, from the folio's start. ``cache_only``: it must not turn
    to its ``ServerFile`` when the cache misses. ``paced``: it belongs to a run, and waits for
    room on the link.
    """

    __slots__ = (
        "cache_only",
        "debug_id",
        "demand",
        "file",
        "folio",
        "outstanding",
        "paced",
        "scope",
        "source",
        "state",
        "transferred",
    )

    def __init__(
        self,
        folio: Folio,
        source: Source,
        *,
        file: ServerFile,
        outstanding: Outstanding,
        debug_id: str,
        urgent: bool,
        paced: bool,
    ) -> None:
        self.folio = folio
        self.source = source
        self.file = file
        self.outstanding = outstanding
        self.debug_id = debug_id
        self.demand = Demand(urgent=urgent)
        self.paced = paced
        self.state = State.QUEUED
        self.transferred = 0
        self.scope = trio.CancelScope()
        self.cache_only = False

    @property
    def is_settled(self) -> bool:
        """Whether the state is final."""
        return self.state not in (State.QUEUED, State.READING)

    def settle(self, state: State, error: Exception | None = None) -> None:
        """Make ``state`` final and wake the folio's readers. ``error``: of FAILED."""
        self.state = state
        self.outstanding.discard(self)
        if state is State.FILLED:
            self.folio.filled(self.transferred)
        else:
            self.folio.failed(error)

    def hurry(self) -> None:
        """A reader waits for it from now on."""
        self.demand.raise_()

    def abandon(self) -> None:
        """If no reader waits for it and the server has not been asked yet, it never will be."""
        folio = self.folio
        if folio.waiters or self.demand.sent or self.is_settled or self.source is not Source.SERVER:
            return
        folio.unmap()  # first: no reader may join it any more
        if self.state is State.QUEUED:
            self.settle(State.ABANDONED)
        else:
            self.scope.cancel()  # it waits for credits: its task settles it

    def keep_to_cache(self) -> None:
        """Use the ``ServerFile`` no more: a cache read under way may end well, or be abandoned."""
        self.cache_only = True
        self.folio.owner = None
        self.outstanding.discard(self)


def filling(folio: Folio) -> Subrequest | None:
    """The subrequest that fills ``folio``; None once that is settled."""
    fill = folio.fill
    assert fill is None or isinstance(fill, Subrequest)
    return fill
