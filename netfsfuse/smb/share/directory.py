"""One listing: an open directory handle and its pages.

A page is at most 64 KiB, or what the server sends at once, and costs one credit: about 500 entries,
2 ms of CPU to parse (measured), so that no page holds up the loop. The compound that opens the
directory asks for two: the second says of a small directory that there is no more, which is then
listed in one round trip. While pages are given out the next ones are on their way, in bursts that
double up to ``BURST_MAX``: one round trip for each burst, however long the directory is. The handle
is closed, without a wait, when the last page has come.

When the connection is lost in mid-listing, the directory is opened again and what was given out
already is passed over, by name.
"""

from __future__ import annotations

import logging
from collections import deque
from itertools import islice

import trio

from netfsfuse.errors import Disconnected, NetfsError, ServerError
from netfsfuse.smb import status
from netfsfuse.smb.connection.apart import undo_create
from netfsfuse.smb.connection.exchange import Reply, Request
from netfsfuse.smb.connection.transport import Transport
from netfsfuse.smb.session import replay
from netfsfuse.smb.session.session import Session
from netfsfuse.smb.share.compound import stat
from netfsfuse.smb.share.names import are_plain, is_sound_name, is_too_long, name_to_local
from netfsfuse.smb.wire.create import (
    FILE_DIRECTORY_FILE,
    FILE_READ_ATTRIBUTES,
    FILE_READ_DATA,
    pack_create,
    parse_create,
)
from netfsfuse.smb.wire.header import RELATED_FILE_ID, Command
from netfsfuse.smb.wire.query import pack_query_directory, parse_query_directory
from netfsfuse.types import DirEntry, FileAttr

log = logging.getLogger(__name__)

_PAGE = 64 * 1024
_LIST_ACCESS = FILE_READ_DATA | FILE_READ_ATTRIBUTES
_FIRST = 2
_DOTS = (".", "..")
_SIZE_END = 1 << 63
_REPEATS = 1000
_SUSPECTS_MAX, _LOOKS = 8, 3
LISTING_MAX = 256 << 20
"""Bytes of pages of one listing, over two million entries: a reader holds them all."""
BURST_MAX = 8
"""Pages asked for at once: half a MiB of replies that wait when the reader stops, 4,000 entries."""


class SmbListing:
    """A listing under way. One task at a time may ask for pages."""

    def __init__(self, session: Session, name: str) -> None:
        self._session = session
        self._name = name
        self._handle = b""
        self._number = -1
        self._taken = 0  # pages, so far
        self._bytes = 0  # of them
        self._unsure = False  # pages were asked for and their replies not seen
        self.asked = 0.0
        self.own: FileAttr | None = None
        self.is_followed = False
        self._pages: deque[tuple[float, list[DirEntry]]] = deque()
        self._given: set[str] = set()
        self._repeated = 0  # entries since the last that was new
        self._told = False
        self._ended = False  # nothing more comes from the server
        self._ahead: trio.CancelScope | None = None
        self._ahead_over = trio.Event()
        self._failed: NetfsError | None = None

    @classmethod
    async def open(cls, session: Session, name: str) -> SmbListing:
        """Open the directory and fetch its first pages. Raises the server's refusal."""
        listing = cls(session, name)
        try:
            await listing._open()
        except BaseException:
            await listing.aclose()
            raise
        return listing

    async def next_page(self) -> list[DirEntry]:
        """Entries that were not given out yet; [] at the end. Raises the server's refusal, and
        Disconnected."""
        while True:
            if self._pages:
                self.asked, page = self._pages.popleft()
                self._look_ahead()
                if fresh := self._fresh(page):
                    return fresh
            elif self._ended:
                return []
            elif self._ahead is not None:
                await self._ahead_over.wait()
                if self._failed is not None:
                    failed, self._failed = self._failed, None
                    raise failed
            else:
                await self._fetch()

    def _fresh(self, page: list[DirEntry]) -> list[DirEntry]:
        """What was not given out yet. A server that repeats itself without end is stopped: even a
        listing that began anew repeats no more than was given."""
        given = self._given
        names = {entry.name for entry in page}
        if page and len(names) == len(page) and given.isdisjoint(names):  # so it is mostly
            given |= names
            self._repeated = 0
            return page
        before = len(given)
        fresh = []
        for entry in page:
            name = entry.name
            given.add(name)
            if len(given) > before:
                before += 1
                fresh.append(entry)
        self._repeated = 0 if fresh else self._repeated + len(page)
        if self._repeated > len(given) + _REPEATS:
            log.warning("the listing of %r repeats itself: ended", self._name)
            self._pages.clear()
            self._end()
        return fresh

    async def aclose(self) -> None:
        """End it: the handle is closed without a wait. Idempotent."""
        self._pages.clear()
        self._end()
        if self._ahead is not None:
            self._ahead.cancel()

    def _end(self) -> None:
        self._ended = True
        if self._handle:
            self._session.close_later(self._handle, self._number)
            self._handle = b""

    def _look_ahead(self) -> None:
        """Have the next burst on its way before the last page is needed."""
        if not self._ended and self._ahead is None and not self._pages:
            self._ahead, self._ahead_over = trio.CancelScope(), trio.Event()
            self._session.spawn(self._fetch_ahead, self._ahead, self._ahead_over)

    async def _fetch_ahead(self, scope: trio.CancelScope, over: trio.Event) -> None:
        """The task of one burst. Its failure is for the caller that asks for the next page."""
        try:
            with scope:
                if not self._ended:
                    await self._fetch()
        except NetfsError as failed:
            self._failed = failed
        finally:
            self._ahead = None
            over.set()

    async def _fetch(self) -> None:
        """The next burst by the open handle, or the first one of a handle opened anew."""
        transport = await self._session.transport()
        if self._number != self._session.number or not self._handle:
            await self._open()
            return
        # The server's place in the listing is lost with pages that were cancelled: from the start.
        burst = min(max(_FIRST, self._taken // 8), BURST_MAX, max(1, transport.largest_charge))
        room = min(_PAGE, transport.established.max_transact)
        requests = [
            Request(
                Command.QUERY_DIRECTORY,
                pack_query_directory(
                    RELATED_FILE_ID if index else self._handle,
                    room,
                    restart=self._unsure and not index,
                ),
                room=room,
            )
            for index in range(burst)
        ]
        self._unsure = True
        asked = trio.current_time()
        replies = await replay.once(self._session, transport, requests)
        if isinstance(replies, list):
            await self._take(replies, asked)
        else:
            await self._open()

    async def _open(self) -> None:
        number, asked = -1, 0.0
        followed = self._session.followed
        question = followed.ask(self._name)

        def build(transport: Transport) -> list[Request]:
            nonlocal number, asked
            room = min(_PAGE, transport.established.max_transact)
            number, asked = self._session.number, trio.current_time()
            create = pack_create(self._name, access=_LIST_ACCESS, options=FILE_DIRECTORY_FILE)
            return [
                Request(Command.CREATE, create, undo=undo_create),
                *(
                    Request(
                        Command.QUERY_DIRECTORY,
                        pack_query_directory(RELATED_FILE_ID, room, restart=not index),
                        room=room,
                    )
                    for index in range(_FIRST)
                ),
            ]

        created, *answers = await self._session.exchange(build)
        if created.status:
            raise status.error_of(created.status, f"CREATE {self._name!r}", self._name)
        self._handle, self._number = parse_create(created.message).handle, number
        self._unsure = True
        if self._ended:  # closed meanwhile
            self._end()
        self.is_followed = await followed.learn(question, is_file=False)
        await self._take(answers, asked)

    async def _take(self, replies: list[Reply], asked: float) -> None:
        """Keep the pages. One without any entry, be it "." or "..", ends the listing."""
        for reply in replies:
            page: list[DirEntry] = []
            if reply.status not in (status.NO_MORE_FILES, status.NO_SUCH_FILE):
                if reply.status:
                    raise status.error_of(reply.status, f"QUERY_DIRECTORY {self._name!r}")
                page = parse_query_directory(reply.message)
            if not page:
                self._end()
                break
            await self._judge_ids(page)
            self._taken += 1
            self._bytes += len(reply.message)
            if self._bytes > LISTING_MAX:
                self._end()
                raise ServerError(f"{self._name!r} lists more than can be held")
            self._pages.append((asked, self._sound(page)))
        self._unsure = False

    def _sound(self, page: list[DirEntry]) -> list[DirEntry]:
        """The entries of a page that can be shown, by their local names."""
        odd, file_ids = self._session.odd_names, self._session.file_ids
        names = [entry.name for entry in page]
        odd.note(names)
        if file_ids.trusted and are_plain(names):  # so they are mostly
            for entry in page:
                if entry.name == ".":
                    self.own = entry.attr
            sound = [entry for entry in page if entry.name not in _DOTS]
            if all(entry.attr.size < _SIZE_END for entry in sound):
                return sound
        sound = []
        for entry in page:
            name = name_to_local(entry.name, odd)
            if name != entry.name:
                if not is_sound_name(entry.name):
                    self._odd(entry.name)
                entry = DirEntry(name, entry.attr)
            if not name or entry.attr.size >= _SIZE_END or is_too_long(name):
                self._odd(entry.name)
            elif name not in _DOTS:
                sound.append(entry)
            elif name == ".":
                self.own = self._session.file_ids.seen(entry.attr)
        if file_ids.trusted:
            return sound
        return [DirEntry(entry.name, file_ids.seen(entry.attr)) for entry in sound]

    async def _judge_ids(self, page: list[DirEntry]) -> None:
        """Ask once more for what looks like several files with one FileId, before it is shown."""
        file_ids = self._session.file_ids
        named = [entry for entry in page if entry.name not in _DOTS]
        for pair in islice(file_ids.suspects(named), _SUSPECTS_MAX):
            first, other = (f"{self._name}\\{name}".lstrip("\\") for name in pair)
            try:
                for _ in range(_LOOKS):
                    one = await stat(self._session, first)
                    two = await stat(self._session, other)
                    again = await stat(self._session, first)
                    if file_ids.judge(one, two, again, self._name):
                        break
            except NetfsError as failed:
                if isinstance(failed, Disconnected):
                    raise
                log.debug("asking for a suspect: %s", failed)

    def _odd(self, name: str) -> None:
        if not self._told:
            self._told = True
            log.warning(
                "%r holds entries that no file system has: %.80r, for one", self._name, name
            )
