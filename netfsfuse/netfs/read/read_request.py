"""One read that memory could not answer at once: its pieces taken in order, and made one answer.

An answer that lies in one folio is lent, any other is copied together as the pieces arrive, so that
each is unpinned as soon as it was copied.

Failures are not cached: a failed folio has left the mapping when its waiters wake, and the next
plan asks again. A reader that joined a subrequest of another handle and sees it fail asks again
itself, through its own ``ServerFile``: the failure may be the other handle's own.
"""

from __future__ import annotations

import logging

import trio

from netfsfuse.errors import Disconnected
from netfsfuse.netfs.io.contents import Contents
from netfsfuse.netfs.io.issue import Issuer
from netfsfuse.netfs.io.request import Source, Subrequest, filling
from netfsfuse.netfs.io.slow_cache import CACHE_TIMEOUT
from netfsfuse.netfs.memory.folio import Folio, FolioState
from netfsfuse.netfs.ops import ServerFile
from netfsfuse.netfs.read.read_through import Answer

log = logging.getLogger(__name__)

FOREIGN_FAILURES = 2
"""How often a read asks again after subrequests of other handles failed. Each of many readers that
joined one failing range would otherwise wait for all the others' attempts."""


class ReadRequest:
    """One read under way through ``file``: ``[start, end)`` within i_size as it was at the
    beginning, answered up to ``position``; if the file shrinks, no plan goes beyond its end.
    ``runs_on``: it is part of a pattern, so its bytes will not be asked for again.
    """

    __slots__ = (
        "_contents",
        "_debug_id",
        "_failures",
        "_file",
        "_issued",
        "_issuer",
        "_joined",
        "_runs_on",
        "end",
        "position",
        "start",
    )

    def __init__(
        self,
        contents: Contents,
        issuer: Issuer,
        file: ServerFile,
        start: int,
        end: int,
        *,
        runs_on: bool,
    ) -> None:
        self.start = start
        self.end = end
        self.position = start
        self._contents = contents
        self._issuer = issuer
        self._file = file
        self._runs_on = runs_on
        self._debug_id = issuer.stats.next_debug_id()
        self._issued = 0
        self._failures = 0
        self._joined: bytearray | None = None

    def next_debug_id(self) -> str:
        """The name, in the log, of its next subrequest."""
        number = self._issued
        self._issued += 1
        return f"{self._debug_id}[{number}]"

    async def collect(self, pinned: list[Folio]) -> Answer | None:
        """Take the pieces in order as they arrive, and unpin them.

        Returns the answer, or None if there must be another plan from ``position``.
        """
        try:
            for folio in pinned:
                if not await self._wait_filled(folio):
                    return None
                is_short = folio.valid < folio.length
                stop = min(self.end, folio.start + folio.valid)
                is_last = is_short or stop == self.end
                if is_last and self._joined is None:
                    if stop <= self.start:
                        return b""
                    return self._lend(folio, stop)
                self._copy(folio, stop)
                if is_last:
                    return self.joined()
            return None
        finally:
            for folio in pinned:
                folio.unpin()

    def joined(self) -> Answer:
        """The answer, if what was copied so far is all there is."""
        if self._joined is None:
            return b""
        self._issuer.stats.application.joined += 1
        return memoryview(self._joined)[: self.position - self.start]

    async def _wait_filled(self, folio: Folio) -> bool:
        """Whether ``folio`` is filled in the end; False: plan again. Raises its error."""
        sub = filling(folio)
        if sub is not None and sub.source is Source.CACHE:
            with trio.move_on_after(CACHE_TIMEOUT):
                await folio.wait_settled()
            if filling(folio) is sub and sub.source is Source.CACHE:
                self._give_up_cache(sub)
                return False
        await folio.wait_settled()
        if folio.state is not FolioState.VOID:
            return True
        own = folio.owner is self._file
        if folio.error is not None:
            self._failures += 1
            if own or self._failures > FOREIGN_FAILURES:
                raise folio.error
        elif own:
            raise Disconnected("the mount is being taken down")
        return False

    def _give_up_cache(self, sub: Subrequest) -> None:
        """The cache hangs over ``sub``: the next plan goes to the server."""
        log.warning("%s: the cache does not answer, going on without", self._contents.debug_name)
        folio = sub.folio
        sub.keep_to_cache()
        self._issuer.slow_cache.give_up(sub)
        self._contents.occupancy.note(folio.start, folio.end, stored=False)
        folio.unmap()

    def _lend(self, folio: Folio, stop: int) -> memoryview:
        """``[self.start, stop)``, all of which is in ``folio``."""
        view = folio.buffer.lend(self.start - folio.start, stop - folio.start)
        self._consume(folio, stop - self.start)
        return view

    def _copy(self, folio: Folio, stop: int) -> None:
        """Append ``[self.position, stop)`` to the joined answer; nothing if that is empty."""
        if self._joined is None:
            self._joined = bytearray(self.end - self.start)
        start = self.position
        if stop > start:
            view = folio.buffer.payload[start - folio.start : stop - folio.start]
            self._joined[start - self.start : stop - self.start] = view
            self._consume(folio, stop - start)
            self.position = stop

    def _consume(self, folio: Folio, count: int) -> None:
        contents = self._contents
        alone = contents.readers == 1
        contents.mapping.consume(folio, count, runs_on=self._runs_on, alone=alone)
