"""Reading one range through one handle: the only place that runs the stages in order.

expand and slice -> issue -> collect -> answer; storing follows behind (``copy_to_cache.py``).

What a read costs. Fully in memory (the usual case for a sequential reader, whose data was read
ahead): no task, no event, no checkpoint, no copy; one dictionary look-up, the window's arithmetic,
one ``memoryview`` with its finalizer. There is no checkpoint on purpose: the caller's reply to the
kernel is one. In flight: one wake-up. Cold: one task and one buffer for each subrequest. Cached:
the thread hop of the cache besides. A copy of the payload is made only when the answer lies in
more than one buffer; it is counted in ``stats.application.joined``.

Rules kept here, on which ``pool.py`` builds its argument that no read waits for ever: a read waits
for a buffer only while it has nothing pinned; it pins as many pieces as can be had without waiting,
copies each out as it arrives, and plans again from there. Between a plan and the start of its
subrequests there is no await, so the mapping cannot change under it.

Failures are not cached: a failed folio has left the mapping when its waiters wake, and the next
read asks again. A reader that joined a subrequest of another handle and sees it fail asks again
itself, through its own ``ServerFile``: the failure may be the other handle's own.
"""

from __future__ import annotations

import logging
from dataclasses import dataclass, field

import trio

from netfsfuse.errors import Disconnected
from netfsfuse.netfs.io.contents import Contents
from netfsfuse.netfs.io.issue import Issuer
from netfsfuse.netfs.io.request import Outstanding, Source, Subrequest, filling
from netfsfuse.netfs.io.slicing import Slice, slice_range
from netfsfuse.netfs.io.slow_cache import CACHE_TIMEOUT
from netfsfuse.netfs.memory.buffer import Buffer
from netfsfuse.netfs.memory.folio import Folio, FolioState
from netfsfuse.netfs.ops import ServerFile
from netfsfuse.netfs.read.fetch_ahead import FetchAhead
from netfsfuse.netfs.read.read_through import Answer, read_through
from netfsfuse.netfs.readahead import Ahead
from netfsfuse.types import CACHE_BLOCK, ByteRange

log = logging.getLogger(__name__)

FOREIGN_FAILURES = 2
"""How often a read asks again after subrequests of other handles failed. Each of many readers that
joined one failing range would otherwise wait for all the others' attempts."""

LONE_MAX = 16 * 1024
"""Bytes: where nothing can be stored, a read this small that follows no other is sent as it is, and
not grown to a cache block: 4 KiB at random would move 16 times as much over a slow link."""


@dataclass(slots=True)
class _Request:
    """One read under way: ``[start, end)`` within i_size as it was at the beginning, answered up to
    ``position``; if the file shrinks, no plan goes beyond its end. ``runs_on``: it is part of a
    pattern, so its bytes will not be asked for again.
    """

    start: int
    end: int
    position: int
    runs_on: bool
    debug_id: int
    issued: int = 0
    failures: int = 0
    joined: bytearray | None = None


@dataclass(slots=True)
class _Plan:
    """Pieces in order, all pinned; ``fresh`` of them are to be started. ``need``: the length of
    the piece for which there was no buffer."""

    pinned: list[Folio] = field(default_factory=list)
    fresh: list[Subrequest] = field(default_factory=list)
    need: int = 0


class NetfsFile:
    """One open handle: its ``ServerFile``, its readahead, and what it has in flight."""

    def __init__(self, contents: Contents, issuer: Issuer, file: ServerFile) -> None:
        self._contents = contents
        self._issuer = issuer
        self._file = file
        self._outstanding = Outstanding()
        self._ahead = FetchAhead(contents, issuer, file, self._outstanding)
        self._closed = False

    async def read(self, start: int, size: int) -> Answer:
        """The bytes of ``[start, start + size)``; short only at the end of file.

        A ``memoryview`` is lent: pass it on as it is (no slices of it) and let go of it soon, its
        buffer is kept until then. Raises the ``NetfsError`` that the server's answer amounts to.
        Cancellation leaves what was sent running.
        """
        if self._closed:
            raise RuntimeError("read on a closed handle")
        contents = self._contents
        end = min(start + size, contents.i_size)
        answer: Answer
        if contents.retired:
            answer = await read_through(self._issuer, self._file, start, size)
        elif start >= end:
            answer = b""
        else:
            ahead = self._ahead.on_read(start, end - start, trio.current_time())
            folio = contents.mapping.find(start // CACHE_BLOCK)
            if folio is not None and folio.state is not FolioState.FILLING and end <= folio.end:
                answer = self._lend(folio, start, end, self._ahead.runs_on)
                if ahead.wanted:
                    self._issuer.start(contents, self._ahead.plan(ahead, end))
            elif folio is None and self._is_lone(end - start):
                answer = await read_through(self._issuer, self._file, start, end - start)
            else:
                answer = await self._read_slowly(start, size, ahead)
        application = self._issuer.stats.application
        application.reads += 1
        application.bytes += len(answer)
        return answer

    async def aclose(self) -> None:
        """Drop readahead that was not sent and that no reader waits for; wait for what was sent.

        Afterwards the ``ServerFile`` is not used any more, also if this was cancelled: then what
        was sent is cancelled too, and other handles' readers that wait for it ask again themselves.
        Idempotent.
        """
        if not self._closed:
            self._closed = True
            self._contents.readers -= 1
        self._ahead.close()
        for sub in list(self._outstanding.subrequests):
            if sub.source is Source.CACHE:
                sub.keep_to_cache()
        try:
            await self._outstanding.wait_empty()
        except trio.Cancelled:
            for sub in list(self._outstanding.subrequests):
                sub.scope.cancel()
            with trio.CancelScope(shield=True):
                await self._outstanding.wait_empty()
            raise

    def _is_lone(self, size: int) -> bool:
        """Whether a read that is not in memory brings nothing that could serve another one."""
        return self._contents.cache is None and size <= LONE_MAX and not self._ahead.runs_on

    async def _read_slowly(self, start: int, size: int, ahead: Ahead) -> Answer:
        """A read that needs something not in memory, or lies in several buffers."""
        contents = self._contents
        end = min(start + size, contents.i_size)
        debug_id = self._issuer.stats.next_debug_id()
        request = _Request(start, end, start, self._ahead.runs_on, debug_id)
        first = True
        if request.runs_on and contents.mapping.find(start // CACHE_BLOCK) is None:
            await self._issuer.stores.wait_room()
        while True:
            await contents.learn(ByteRange(request.position, end))
            if contents.retired:
                return await read_through(self._issuer, self._file, start, size)
            if request.position >= contents.i_size:  # it shrank meanwhile
                return self._joined(request)
            plan = self._plan(request, ahead, None)
            if not plan.pinned:
                buffer = await self._issuer.pool.acquire(plan.need)
                if contents.retired or request.position >= contents.i_size:
                    buffer.drop()
                    continue
                plan = self._plan(request, ahead, buffer)
            if first:
                first = False
                plan.fresh += self._ahead.plan(ahead, end)
                if any(map(_comes_from_server, plan.pinned)):
                    plan.fresh += self._ahead.plan(self._ahead.waited(trio.current_time()), end)
            self._issuer.start(contents, plan.fresh)
            answer = await self._collect(request, plan.pinned)
            if answer is not None:
                return answer

    def _plan(self, request: _Request, ahead: Ahead, spare: Buffer | None) -> _Plan:
        """Pin what is there and claim what is missing, as far as buffers go without waiting.

        Takes over the caller's reference to ``spare``, a buffer for the first missing piece.
        """
        contents = self._contents
        plan = _Plan()
        pieces = slice_range(
            ByteRange(request.position, request.end),
            i_size=contents.i_size,
            request_size=ahead.request_size,
            phase=ahead.phase,
            cache_size=self._issuer.cache_read,
            resident=contents.mapping.find,
            stored=contents.stored_hint(),
        )
        for piece in pieces:
            folio: Folio | None
            if piece.source is Source.EOF:
                break
            if piece.source is Source.MEMORY:
                folio = contents.mapping.find(piece.start // CACHE_BLOCK)
                if folio is None:
                    break  # evicted to make room for an earlier piece: the next plan fetches it
            else:
                buffer, spare = self._buffer_for(piece, spare)
                if buffer is None:
                    plan.need = piece.length
                    break
                debug_id = f"{request.debug_id}[{request.issued}]"
                request.issued += 1
                sub = self._claim(piece, buffer, debug_id)
                plan.fresh.append(sub)
                folio = sub.folio
            folio.pin()
            plan.pinned.append(folio)
        if spare is not None:
            spare.drop()
        return plan

    def _buffer_for(
        self, piece: Slice, spare: Buffer | None
    ) -> tuple[Buffer | None, Buffer | None]:
        """A buffer for ``piece`` if one is to be had now, and what is left of ``spare``."""
        if spare is not None and spare.capacity >= piece.length:
            return spare, None
        return self._issuer.pool.acquire_nowait(piece.length, urgent=True), spare

    def _claim(self, piece: Slice, buffer: Buffer, debug_id: str) -> Subrequest:
        return self._issuer.claim(
            self._contents,
            piece,
            buffer,
            file=self._file,
            outstanding=self._outstanding,
            debug_id=debug_id,
            urgent=True,
            paced=self._ahead.runs_on,
        )

    async def _collect(self, request: _Request, pinned: list[Folio]) -> Answer | None:
        """Take the pieces in order as they arrive, and unpin them.

        Returns the answer, or None if there must be another plan from ``request.position``.
        """
        try:
            for folio in pinned:
                if not await self._wait_filled(folio, request):
                    return None
                is_short = folio.valid < folio.length
                stop = min(request.end, folio.start + folio.valid)
                is_last = is_short or stop == request.end
                if is_last and request.joined is None:
                    if stop <= request.start:
                        return b""
                    return self._lend(folio, request.start, stop, request.runs_on)
                self._copy(folio, request, stop)
                if is_last:
                    return self._joined(request)
            return None
        finally:
            for folio in pinned:
                folio.unpin()

    def _joined(self, request: _Request) -> Answer:
        """What was copied so far is all there is."""
        if request.joined is None:
            return b""
        self._issuer.stats.application.joined += 1
        return memoryview(request.joined)[: request.position - request.start]

    async def _wait_filled(self, folio: Folio, request: _Request) -> bool:
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
            request.failures += 1
            if own or request.failures > FOREIGN_FAILURES:
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

    def _lend(self, folio: Folio, start: int, end: int, runs_on: bool) -> memoryview:
        view = folio.buffer.lend(start - folio.start, end - folio.start)
        contents = self._contents
        alone = contents.readers == 1
        contents.mapping.consume(folio, end - start, runs_on=runs_on, alone=alone)
        return view

    def _copy(self, folio: Folio, request: _Request, stop: int) -> None:
        """Append ``[request.position, stop)`` to the joined answer; nothing if that is empty."""
        if request.joined is None:
            request.joined = bytearray(request.end - request.start)
        start = request.position
        if stop > start:
            view = folio.buffer.payload[start - folio.start : stop - folio.start]
            request.joined[start - request.start : stop - request.start] = view
            contents = self._contents
            alone = contents.readers == 1
            contents.mapping.consume(folio, stop - start, runs_on=request.runs_on, alone=alone)
            request.position = stop


def _comes_from_server(folio: Folio) -> bool:
    sub = filling(folio)
    return sub is not None and sub.source is Source.SERVER
