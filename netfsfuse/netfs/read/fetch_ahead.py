"""Reading ahead for one handle: what the policy wishes, issued as far as buffers go.

The policy (``ahead``) states once what should be on its way beyond a read. What cannot be granted
(no buffer, or the cache has not said yet what it has) is *refused*, and stated again later.

The policy's window is what the link needs. What the disk cache has may be brought in from further
ahead: disks want several reads in flight however slow the link is, and those cost the link nothing.
So beyond the window the blocks that are stored, and only those, are claimed too, up to the first
one that is not.
"""

from __future__ import annotations

from netfsfuse.netfs.io.contents import Contents
from netfsfuse.netfs.io.issue import Issuer
from netfsfuse.netfs.io.request import Outstanding, Source, Subrequest, filling
from netfsfuse.netfs.io.slicing import slice_range
from netfsfuse.netfs.ops import ServerFile
from netfsfuse.netfs.readahead import Ahead, Pattern, Streams
from netfsfuse.types import CACHE_BLOCK, ByteRange

STORED_AHEAD = 16 * 1024 * 1024
"""Bytes beyond a read, of what the cache has: four reads of it in flight, one for each thread."""

STORED_GAIN = 4
"""How many times the link's window that may be, so that a reader at its beginning gets little."""


class FetchAhead:
    """The readahead of one handle; ``outstanding`` is the handle's, and so is ``file``."""

    def __init__(
        self, contents: Contents, issuer: Issuer, file: ServerFile, outstanding: Outstanding
    ) -> None:
        self._contents = contents
        self._issuer = issuer
        self._file = file
        self._outstanding = outstanding
        self._streams = Streams(issuer.ahead, issuer.link)
        self._stored_end = 0  # up to here what is stored was claimed

    @property
    def runs_on(self) -> bool:
        """Whether the last read belonged to a run that leaves nothing out: what lies round it in
        its block will be asked for next, and its own bytes will not be again.
        """
        return self._streams.pattern in (Pattern.SEQUENTIAL, Pattern.BACKWARD)

    def on_read(self, start: int, size: int, now: float) -> Ahead:
        """Note a read of ``size`` > 0 bytes within the file; what should be on its way now."""
        ahead = self._streams.on_read(start, size, self._contents.i_size, now)
        if ahead.forgotten:
            self._forget(ahead.forgotten)
        return ahead

    def waited(self, now: float) -> Ahead:
        """The read noted last has to wait for the server; what should be on its way besides."""
        return self._streams.waited(now)

    def plan(self, ahead: Ahead, end: int) -> list[Subrequest]:
        """Claim what of ``ahead`` is missing, as far as buffers go, for a read that ended at
        ``end``. No await between this and the start of what it returns.
        """
        fresh: list[Subrequest] = []
        for wanted in ahead.wanted:
            reached = self._claim(wanted, ahead, fresh)
            if reached < wanted.end:
                self._streams.refused(ByteRange(reached, wanted.end))
                return fresh
        if ahead.wanted and self._contents.cache is not None:
            self._claim_stored(ahead, end, fresh)
        return fresh

    def close(self) -> None:
        """The handle is going: what was not sent never will be, what arrives is the first to go."""
        self._streams.close()
        for sub in list(self._outstanding.subrequests):
            sub.abandon()
            if sub.folio.home is not None:
                self._issuer.pool.touch(sub.folio, consumed=True)

    def _claim(
        self, wanted: ByteRange, ahead: Ahead, fresh: list[Subrequest], *, stored_only: bool = False
    ) -> int:
        """Append claimed subrequests for ``wanted`` to ``fresh``; returns up to where all of it is
        in memory or on its way.
        """
        contents = self._contents
        waiting_for_cache = bool(contents.ask_cache(wanted))
        pieces = slice_range(
            wanted,
            i_size=contents.i_size,
            request_size=ahead.request_size,
            phase=ahead.phase,
            cache_size=self._issuer.cache_read,
            resident=contents.mapping.find,
            stored=contents.stored_hint(),
        )
        for piece in pieces:
            if piece.source in (Source.MEMORY, Source.EOF):
                continue
            if waiting_for_cache and not contents.occupancy.is_known(piece.start // CACHE_BLOCK):
                return piece.start
            if piece.source is Source.SERVER and self._issuer.stores.is_behind:
                return piece.start
            if stored_only and piece.source is not Source.CACHE:
                return piece.start
            buffer = self._issuer.pool.acquire_nowait(piece.length, urgent=False)
            if buffer is None:
                return piece.start
            fresh.append(
                self._issuer.claim(
                    contents,
                    piece,
                    buffer,
                    file=self._file,
                    outstanding=self._outstanding,
                    debug_id="ahead",
                    urgent=False,
                    paced=True,
                )
            )
        return wanted.end

    def _claim_stored(self, ahead: Ahead, end: int, fresh: list[Subrequest]) -> None:
        """Beyond the window of a forward run: what is stored there."""
        low = ahead.wanted[-1].end
        i_size = self._contents.i_size
        if not end <= low < i_size:
            return
        high = min(end + min(STORED_GAIN * (low - end), STORED_AHEAD), i_size)
        if high < i_size:
            high -= high % CACHE_BLOCK
        if low <= self._stored_end <= high:
            low = self._stored_end
        if low < high:
            self._stored_end = self._claim(ByteRange(low, high), ahead, fresh, stored_only=True)

    def _forget(self, ranges: tuple[ByteRange, ...]) -> None:
        """A run has ended: what was not sent for it never will be, and the rest is the first to go
        when room is needed.
        """
        self._stored_end = 0
        for gone in ranges:
            for folio in list(self._contents.mapping.within(*gone)):
                if folio.owner is self._file:
                    sub = filling(folio)
                    if sub is not None:
                        sub.abandon()
                    if folio.home is not None:
                        self._issuer.pool.touch(folio, consumed=True)
