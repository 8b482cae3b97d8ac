"""A handle on the server, which several of our open files may share."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING

import trio

from netfsfuse.errors import NetfsError
from netfsfuse.smb import status
from netfsfuse.smb.exchange import Reply, Request
from netfsfuse.smb.session import Session
from netfsfuse.smb.transport import Transport
from netfsfuse.smb.wire.create import (
    FILE_NON_DIRECTORY_FILE,
    FILE_READ_ATTRIBUTES,
    FILE_READ_DATA,
    SYNCHRONIZE,
    pack_close,
    pack_create,
    parse_create,
)
from netfsfuse.smb.wire.header import Command
from netfsfuse.types import FileAttr

if TYPE_CHECKING:
    from netfsfuse.smb.siblings import Siblings

log = logging.getLogger(__name__)

_CLOSE_SECONDS = 5.0
READ_ACCESS = FILE_READ_DATA | FILE_READ_ATTRIBUTES | SYNCHRONIZE
_CLOSED = -1


def undo_create(reply: Reply) -> Request:
    """The CLOSE for a CREATE that was answered when nobody waited any more."""
    return Request(Command.CLOSE, pack_close(parse_create(reply.message).handle))


class ServerHandle:
    """``raw`` is valid on connection ``number`` of the session. ``users`` share it; the last one
    closes it. ``given_up``: it was closed, or is being closed, to be replaced by another.
    ``siblings``: those of the same file on further connections, closed with it. ``name`` and
    ``attr`` are what it was opened by.
    """

    __slots__ = (
        "_closing",
        "attr",
        "given_up",
        "name",
        "number",
        "raw",
        "siblings",
        "users",
        "volume_id",
    )

    def __init__(
        self, raw: bytes, number: int, *, name: str, attr: FileAttr, volume_id: int
    ) -> None:
        self.raw = raw
        self.number = number
        self.name = name
        self.attr = attr
        self.volume_id = volume_id
        self.users = 0
        self.given_up = False
        self.siblings: Siblings | None = None
        self._closing = trio.Lock()

    @classmethod
    async def open(cls, session: Session, name: str) -> tuple[ServerHandle, FileAttr]:
        """Open ``name`` for reading. Raises the server's refusal as a NetfsError."""
        body = pack_create(name, access=READ_ACCESS, options=FILE_NON_DIRECTORY_FILE)
        number = _CLOSED

        def build(_transport: Transport) -> list[Request]:
            nonlocal number
            number = session.number
            return [Request(Command.CREATE, body, undo=undo_create)]

        (reply,) = await session.exchange(build)
        if reply.status:
            raise status.error_of(reply.status, f"CREATE {name!r}")
        created = parse_create(reply.message)
        attr, volume_id = session.file_ids.seen(created.attr), created.volume_id
        return cls(created.handle, number, name=name, attr=attr, volume_id=volume_id), attr

    @property
    def closing(self) -> bool:
        """Whether the server was asked to close it and has not answered."""
        return self._closing.locked()

    @property
    def is_lost(self) -> bool:
        """Whether it was closed, by us or by the server."""
        return self.number == _CLOSED

    def lose(self) -> None:
        """The server does not know it any more."""
        self.number = _CLOSED

    async def close(self, session: Session) -> None:
        """CLOSE, unless that was done, or the connection is gone and the handle with it.

        When this returns the server has closed it, whoever of several callers asked first. Never
        raises; bounded in time, shielded from cancellation.
        """
        with trio.CancelScope(shield=True):
            async with self._closing:
                number, self.number = self.number, _CLOSED
                if self.siblings is not None:
                    with trio.move_on_after(_CLOSE_SECONDS, shield=True):
                        await self.siblings.aclose()
                if number not in (_CLOSED, session.number):
                    return
                if number != _CLOSED:
                    await self._close(session, number)

    async def _close(self, session: Session, number: int) -> None:
        with trio.move_on_after(_CLOSE_SECONDS, shield=True):
            try:
                transport = await session.transport()
                if number == session.number:
                    await transport.exchange([Request(Command.CLOSE, pack_close(self.raw))])
            except NetfsError as failed:
                log.debug("CLOSE: %s", failed)
