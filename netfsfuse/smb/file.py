"""One open file on the server: netfs's ServerFile.

The handle belongs to one connection. When that is gone the file is opened again by its path, once
for all readers that wait, and must be the same file as before (FileId, and creation time or whole
coherency record): otherwise the handle is stale for good, since a server may give a dead file's
FileId to a new one.
"""

from __future__ import annotations

import logging

import trio

from netfsfuse.errors import (
    Disconnected,
    IsADirectory,
    NetfsError,
    NotFound,
    ProtocolError,
    Stale,
)
from netfsfuse.netfs.buffer import Buffer
from netfsfuse.smb import status
from netfsfuse.smb.credits import CREDIT_BYTES, charge_for
from netfsfuse.smb.exchange import Reply, Request, Sink
from netfsfuse.smb.session import Session
from netfsfuse.smb.transport import Transport
from netfsfuse.smb.wire.create import (
    FILE_NON_DIRECTORY_FILE,
    FILE_READ_ATTRIBUTES,
    FILE_READ_DATA,
    SYNCHRONIZE,
    Created,
    pack_close,
    pack_create,
    parse_create,
)
from netfsfuse.smb.wire.header import Command
from netfsfuse.smb.wire.query import pack_query_all, parse_all
from netfsfuse.smb.wire.read import pack_read
from netfsfuse.types import FileAttr, coherency_of, same_content

log = logging.getLogger(__name__)

_CLOSE_SECONDS = 5.0
_READ_ACCESS = FILE_READ_DATA | FILE_READ_ATTRIBUTES | SYNCHRONIZE


class SmbFile:
    """See the module. ``name`` is the server's path. Made by :meth:`open`, ended by ``aclose``."""

    def __init__(self, session: Session, name: str, created: Created, number: int) -> None:
        self.attr = created.attr
        self._session = session
        self._name = name
        self._handle = created.handle
        self._number = number
        self._stale: Stale | None = None
        self._reopening = trio.Lock()

    @classmethod
    async def open(cls, session: Session, name: str) -> SmbFile:
        """Open for reading. Raises the server's refusal as a NetfsError."""
        created, number = await _create(session, name)
        return cls(session, name, created, number)

    async def read(self, start: int, length: int, buffer: Buffer, at: int, *, urgent: bool) -> int:
        """See ``ServerFile.read``. Reads no more at once than the credits we hold allow."""
        reply: Reply | None = None
        for last in (False, True):
            transport = await self._ready()
            handle = self._handle
            length = min(length, transport.largest_charge * CREDIT_BYTES)
            request = Request(
                Command.READ,
                pack_read(handle, start, length),
                charge_for(length),
                Sink(buffer, at, length),
            )
            try:
                (reply,) = await transport.exchange([request], urgent=urgent)
            except (Disconnected, ProtocolError):
                if last:
                    raise
                continue
            if not self._needs_reopen(reply, transport, handle):
                break
        assert reply is not None
        if reply.status in (status.SUCCESS, status.BUFFER_OVERFLOW):
            return reply.transferred
        if reply.status == status.END_OF_FILE:
            return 0
        raise status.error_of(reply.status, f"READ {self._name!r} at {start}")

    def _needs_reopen(self, reply: Reply, transport: Transport, handle: bytes) -> bool:
        if reply.status == status.FILE_CLOSED:
            if handle == self._handle:  # or another reader has opened it again already
                self._number = -1
            return True
        return self._session.lost(reply, transport)

    async def query(self) -> FileAttr:
        """Attributes of the open file itself. Raises Stale when it cannot be reached any more."""
        transport = await self._ready()
        request = Request(Command.QUERY_INFO, pack_query_all(self._handle))
        (reply,) = await transport.exchange([request])
        if reply.status not in (status.SUCCESS, status.BUFFER_OVERFLOW):
            raise status.error_of(reply.status, f"QUERY_INFO {self._name!r}")
        return parse_all(reply.message)

    async def _ready(self) -> Transport:
        """The live connection, with ``_handle`` valid on it."""
        if self._stale is not None:
            raise self._stale
        transport = await self._session.transport()
        if self._number == self._session.number:
            return transport
        async with self._reopening:
            while True:
                if self._stale is not None:
                    raise self._stale
                transport = await self._session.transport()
                if self._number == self._session.number:
                    return transport
                await self._reopen()

    async def _reopen(self) -> None:
        log.info("opening %r again", self._name)
        try:
            created, number = await _create(self._session, self._name)
        except (NotFound, IsADirectory) as gone:
            self._stale = Stale(f"{self._name!r} is gone")
            raise self._stale from gone
        before = self.attr
        same = created.attr.file_id == before.file_id and (
            created.attr.creation == before.creation
            or same_content(coherency_of(before), created.attr)
        )
        if not same:
            await _close(self._session, created.handle, number)
            self._stale = Stale(f"{self._name!r} is another file now")
            raise self._stale
        self._handle, self._number = created.handle, number

    async def aclose(self) -> None:
        """See ``OpenFile.aclose``."""
        self._stale = self._stale or Stale(f"{self._name!r} is closed")
        await _close(self._session, self._handle, self._number)


async def _create(session: Session, name: str) -> tuple[Created, int]:
    """Open ``name``; returns also the number of the connection the handle belongs to."""
    body = pack_create(name, access=_READ_ACCESS, options=FILE_NON_DIRECTORY_FILE)
    number = -1

    def build(_transport: Transport) -> list[Request]:
        nonlocal number
        number = session.number
        return [Request(Command.CREATE, body)]

    (reply,) = await session.exchange(build)
    if reply.status:
        raise status.error_of(reply.status, f"CREATE {name!r}")
    return parse_create(reply.message), number


async def _close(session: Session, handle: bytes, number: int) -> None:
    """CLOSE, unless the connection the handle belonged to is gone and the handle with it."""
    if number != session.number:
        return
    with trio.move_on_after(_CLOSE_SECONDS, shield=True):
        try:
            transport = await session.transport()
            if number == session.number:
                await transport.exchange([Request(Command.CLOSE, pack_close(handle))])
        except NetfsError as failed:
            log.debug("CLOSE: %s", failed)
