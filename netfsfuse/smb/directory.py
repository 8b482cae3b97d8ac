"""One listing: an open directory handle and its pages.

A page is at most 64 KiB, one credit: about 500 entries, 2 ms of CPU to parse (measured), so that
no page holds up the loop. The first page comes in the compound that opens the directory. When the
connection is lost in mid-listing, the directory is opened again and what was given out already is
passed over, by name.
"""

from __future__ import annotations

import logging

import trio

from netfsfuse.errors import Disconnected, NetfsError, ProtocolError
from netfsfuse.smb import status
from netfsfuse.smb.exchange import Reply, Request
from netfsfuse.smb.handle import undo_create
from netfsfuse.smb.names import name_to_local
from netfsfuse.smb.session import Session
from netfsfuse.smb.transport import Transport
from netfsfuse.smb.wire.create import (
    FILE_DIRECTORY_FILE,
    FILE_READ_ATTRIBUTES,
    FILE_READ_DATA,
    SYNCHRONIZE,
    pack_close,
    pack_create,
    parse_create,
)
from netfsfuse.smb.wire.header import RELATED_FILE_ID, Command
from netfsfuse.smb.wire.query import pack_query_directory, parse_query_directory
from netfsfuse.types import DirEntry

log = logging.getLogger(__name__)

_PAGE = 64 * 1024
_CLOSE_SECONDS = 5.0
_LIST_ACCESS = FILE_READ_DATA | FILE_READ_ATTRIBUTES | SYNCHRONIZE


class SmbListing:
    """See the module. One task at a time may ask for pages."""

    def __init__(self, session: Session, name: str) -> None:
        self._session = session
        self._name = name
        self._handle = b""
        self._number = -1
        self._unsure = False  # a page was asked for and its reply not seen
        self._first: list[DirEntry] | None = None
        self._given = {".", ".."}
        self._ended = False

    @classmethod
    async def open(cls, session: Session, name: str) -> SmbListing:
        """Open the directory and fetch its first page. Raises the server's refusal."""
        listing = cls(session, name)
        try:
            listing._first = await listing._open()
        except BaseException:
            await listing.aclose()
            raise
        return listing

    async def next_page(self) -> list[DirEntry]:
        """See ``Listing.next_page``."""
        while not self._ended:
            if self._first is not None:
                page, self._first = self._first, None
            else:
                page = await self._fetch()
            fresh = [entry for entry in page if entry.name not in self._given]
            self._given.update(entry.name for entry in fresh)
            if fresh:
                return fresh
        return []

    async def _fetch(self) -> list[DirEntry]:
        """The next page by the open handle, or the first one of a handle opened anew."""
        transport = await self._session.transport()
        if self._number != self._session.number:
            return await self._open()
        # The server's place in the listing is lost with a page that was cancelled: from the start.
        request = Request(
            Command.QUERY_DIRECTORY,
            pack_query_directory(self._handle, _PAGE, restart=self._unsure),
        )
        self._unsure = True
        try:
            (reply,) = await transport.exchange([request])
        except (Disconnected, ProtocolError):
            return await self._open()
        if self._session.lost(reply, transport):
            return await self._open()
        return self._entries(reply)

    async def _open(self) -> list[DirEntry]:
        number = -1

        def build(_transport: Transport) -> list[Request]:
            nonlocal number
            number = self._session.number
            create = pack_create(self._name, access=_LIST_ACCESS, options=FILE_DIRECTORY_FILE)
            query = pack_query_directory(RELATED_FILE_ID, _PAGE, restart=True)
            return [
                Request(Command.CREATE, create, undo=undo_create),
                Request(Command.QUERY_DIRECTORY, query),
            ]

        created, page = await self._session.exchange(build)
        if created.status:
            raise status.error_of(created.status, f"CREATE {self._name!r}")
        self._handle, self._number = parse_create(created.message).handle, number
        return self._entries(page)

    def _entries(self, reply: Reply) -> list[DirEntry]:
        """What a page holds. One without any entry, be it "." or "..", ends the listing."""
        entries: list[DirEntry] = []
        if reply.status not in (status.NO_MORE_FILES, status.NO_SUCH_FILE):
            if reply.status:
                raise status.error_of(reply.status, f"QUERY_DIRECTORY {self._name!r}")
            entries = parse_query_directory(reply.message)
        self._unsure = False
        self._ended = not entries
        return [DirEntry(name_to_local(entry.name), entry.attr) for entry in entries]

    async def aclose(self) -> None:
        """See ``Listing.aclose``."""
        self._ended = True
        if self._number != self._session.number or not self._handle:
            return
        with trio.move_on_after(_CLOSE_SECONDS, shield=True):
            try:
                transport = await self._session.transport()
                if self._number == self._session.number:
                    await transport.exchange([Request(Command.CLOSE, pack_close(self._handle))])
            except NetfsError as failed:
                log.debug("CLOSE: %s", failed)
