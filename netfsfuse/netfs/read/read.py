"""Reading one range through one handle: the only place that runs the stages in order.

expand and slice -> issue -> collect -> answer; storing follows behind (``copy_to_cache.py``).

What a read costs. Fully in memory (the usual case for a sequential reader, whose data was read
ahead): no task, no event, no checkpoint, no copy; one dictionary look-up, the window's arithmetic,
one ``memoryview`` with its finalizer. What came with the open (a small file, *prefilled*) costs a
slice. There is no checkpoint on purpose: the caller's reply to the
kernel is one. In flight: one wake-up. Cold: one task and one buffer for each subrequest. Cached:
the thread hop of the cache besides. A copy of the payload is made only when the answer lies in
more than one buffer; it is counted in ``stats.application.joined``.

Rules kept here, on which ``pool.py`` builds its argument that no read waits for ever: a read waits
for a buffer only while it has nothing pinned; it pins as many pieces as can be had without waiting,
copies each out as it arrives (``read_request.py``), and plans again from there. Between a plan and
the start of its subrequests there is no await, so the mapping cannot change under it.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import trio

from netfsfuse.netfs.io.contents import Contents
from netfsfuse.netfs.io.issue import Issuer
from netfsfuse.netfs.io.request import Outstanding, Source, Subrequest, filling
from netfsfuse.netfs.io.slicing import Slice, slice_range
from netfsfuse.netfs.memory.buffer import Buffer
from netfsfuse.netfs.memory.folio import Folio, FolioState
from netfsfuse.netfs.ops import ServerFile
from netfsfuse.netfs.read.fetch_ahead import FetchAhead
from netfsfuse.netfs.read.read_request import ReadRequest
from netfsfuse.netfs.read.read_through import Answer, read_through
from netfsfuse.netfs.readahead import Ahead
from netfsfuse.types import CACHE_BLOCK, ByteRange

LONE_MAX = 16 * 1024
"""Bytes: where nothing can be stored, a read this small that follows no other is sent as it is, and
not grown to a cache block: 4 KiB at random would move 16 times as much over a slow link."""


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
        self._begun: FetchAhead | None = None  # a file that came with its open needs none
        self._closed = False

    async def read(self, start: int, size: int) -> Answer:
        """The bytes of ``[start, start + size)``; short only at the end of file.

        A ``memoryview`` is lent: pass it on as it is (no slices of it) and let go of it soon, its
        buffer is kept until then. Raises the ``NetfsError`` that the server's answer amounts to.
        Cancellation leaves what was sent running.
        """
        answer = self.read_now(start, size)
        if answer is not None:
            return answer
        contents = self._contents
        end = min(start + size, contents.i_size)
        if contents.retired:
            answer = await read_through(self._issuer, self._file, start, size)
        else:
            ahead = self._ahead.on_read(start, end - start, trio.current_time())
            if contents.mapping.find(start // CACHE_BLOCK) is None and self._is_lone(end - start):
                answer = await read_through(self._issuer, self._file, start, end - start)
            else:
                answer = await self._read_slowly(start, size, ahead)
        self._count(len(answer))
        return answer

    def read_now(self, start: int, size: int) -> Answer | None:
        """As :meth:`read`, where the bytes are at hand: in one folio, or prefilled. Else None, and
        nothing has happened."""
        if self._closed:
            raise RuntimeError("read on a closed handle")
        contents = self._contents
        if contents.retired:
            return None
        end = min(start + size, contents.i_size)
        answer: Answer
        if start >= end:
            answer = b""
        elif (prefill := contents.prefill) is not None:
            answer = prefill[start:end]
        else:
            folio = contents.mapping.find(start // CACHE_BLOCK)
            if folio is None or folio.state is FolioState.FILLING or end > folio.end:
                return None
            fetch_ahead = self._ahead
            ahead = fetch_ahead.on_read(start, end - start, trio.current_time())
            answer = self._lend(folio, start, end, fetch_ahead.runs_on)
            if ahead.wanted:
                self._issuer.start(contents, fetch_ahead.plan(ahead, end))
        self._count(len(answer))
        return answer

    def _count(self, length: int) -> None:
        application = self._issuer.stats.application
        application.reads += 1
        application.bytes += length

    @property
    def _ahead(self) -> FetchAhead:
        ahead = self._begun
        if ahead is None:
            ahead = FetchAhead(self._contents, self._issuer, self._file, self._outstanding)
            self._begun = ahead
        return ahead

    def reads(self, contents: Contents) -> bool:
        """Whether it is a handle of ``contents``."""
        return self._contents is contents

    @property
    def closes_at_once(self) -> bool:
        """Whether :meth:`aclose` would wait for nothing."""
        return not self._outstanding.subrequests

    async def aclose(self) -> None:
        """Drop readahead that was not sent and that no reader waits for; wait for what was sent.

        Afterwards the ``ServerFile`` is not used any more, also if this was cancelled: then what
        was sent is cancelled too, and other handles' readers that wait for it ask again themselves.
        Idempotent.
        """
        if not self._closed:
            self._closed = True
            self._contents.readers -= 1
        if self._begun is not None:
            self._begun.close()
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
        runs_on = self._ahead.runs_on
        request = ReadRequest(contents, self._issuer, self._file, start, end, runs_on=runs_on)
        first = True
        if runs_on and contents.mapping.find(start // CACHE_BLOCK) is None:
            await self._issuer.stores.wait_room()
        while True:
            await contents.learn(ByteRange(request.position, end))
            if contents.retired:
                return await read_through(self._issuer, self._file, start, size)
            if request.position >= contents.i_size:  # it shrank meanwhile
                return request.joined()
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
            answer = await request.collect(plan.pinned)
            if answer is not None:
                return answer

    def _plan(self, request: ReadRequest, ahead: Ahead, spare: Buffer | None) -> _Plan:
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
                sub = self._claim(piece, buffer, request.next_debug_id())
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

    def _lend(self, folio: Folio, start: int, end: int, runs_on: bool) -> memoryview:
        view = folio.buffer.lend(start - folio.start, end - folio.start)
        contents = self._contents
        alone = contents.readers == 1
        contents.mapping.consume(folio, end - start, runs_on=runs_on, alone=alone)
        return view


def _comes_from_server(folio: Folio) -> bool:
    sub = filling(folio)
    return sub is not None and sub.source is Source.SERVER
