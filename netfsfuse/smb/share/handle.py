"""A handle on the server, which several of our open files may share."""

from __future__ import annotations

import logging
from collections.abc import Callable
from functools import partial
from typing import NamedTuple, Protocol

import trio

from netfsfuse.errors import NetfsError
from netfsfuse.smb import status
from netfsfuse.smb.connection.apart import undo_create
from netfsfuse.smb.connection.exchange import Reply, Request
from netfsfuse.smb.connection.transport import Transport
from netfsfuse.smb.session.channels import Lane
from netfsfuse.smb.session.lease import LeaseHold
from netfsfuse.smb.session.session import Session
from netfsfuse.smb.wire.create import (
    CREATED,
    FILE_APPEND_DATA,
    FILE_CREATE,
    FILE_NON_DIRECTORY_FILE,
    FILE_OPEN,
    FILE_READ_ATTRIBUTES,
    FILE_READ_DATA,
    FILE_WRITE_ATTRIBUTES,
    FILE_WRITE_DATA,
    pack_close,
    pack_create,
    parse_close,
    parse_create,
)
from netfsfuse.smb.wire.header import RELATED_FILE_ID, Command
from netfsfuse.smb.wire.lease import READ_HANDLE, READ_WRITE_HANDLE
from netfsfuse.smb.wire.read import pack_read, parse_read
from netfsfuse.types import FileAttr

log = logging.getLogger(__name__)

_CLOSE_TIMEOUT = 5.0
READ_ACCESS = FILE_READ_DATA | FILE_READ_ATTRIBUTES
WRITE_ACCESS = FILE_WRITE_DATA | FILE_APPEND_DATA | FILE_WRITE_ATTRIBUTES | FILE_READ_ATTRIBUTES
_CLOSED = -1


class Purpose(NamedTuple):
    """What a handle is opened for: the access and the lease that are asked for, and whether the
    file is made by it."""

    access: int
    lease: int
    disposition: int = FILE_OPEN


READING = Purpose(READ_ACCESS, READ_HANDLE)
WRITING = Purpose(READ_ACCESS | WRITE_ACCESS, READ_WRITE_HANDLE)
ONLY_WRITING = Purpose(WRITE_ACCESS, READ_WRITE_HANDLE)


class FurtherHandles(Protocol):
    """The handles of the same file on further connections (``siblings.py``)."""

    def choose(self, length: int) -> tuple[Lane[Session], ServerHandle | None]:
        """Where a read of ``length`` bytes shall go; None for the handle on the primary."""
        ...

    async def aclose(self) -> None:
        """Close them all; the server has closed them when this returns. Never raises."""
        ...


class ServerHandle:
    """``raw`` is valid on connection ``number`` of the session. ``users`` share it; the last one
    closes it. ``given_up``: it was closed, or is being closed, to be replaced by another.
    ``siblings``: those of the same file on further connections, closed with it. ``name`` and
    ``attr`` are what it was opened by, ``asked`` when (trio clock), ``is_followed`` whether
    ``name`` leads through a link (``followed.py``). ``head``: the file's beginning, as far as it
    was asked for with the open, ``was_read``: more was. ``lease`` is None where none was granted.
    ``purpose``: what it was opened for, ``was_made``: the file was made by that.
    """

    __slots__ = (
        "_closing",
        "asked",
        "attr",
        "given_up",
        "head",
        "is_followed",
        "lease",
        "name",
        "number",
        "purpose",
        "raw",
        "siblings",
        "users",
        "volume_id",
        "was_made",
        "was_read",
    )

    def __init__(
        self,
        raw: bytes,
        number: int,
        *,
        name: str,
        attr: FileAttr,
        volume_id: int,
        asked: float = 0.0,
    ) -> None:
        self.raw = raw
        self.number = number
        self.name = name
        self.attr = attr
        self.volume_id = volume_id
        self.asked = asked
        self.is_followed = False
        self.head: memoryview | None = None
        self.was_read = False
        self.lease: LeaseHold | None = None
        self.purpose = READING
        self.was_made = False
        self.users = 0
        self.given_up = False
        self.siblings: FurtherHandles | None = None
        self._closing = trio.Lock()

    @classmethod
    async def open(
        cls,
        session: Session,
        name: str,
        *,
        head: int = 0,
        purpose: Purpose = READING,
        file_id: int = 0,
        on_break: Callable[[ServerHandle], None] | None = None,
    ) -> tuple[ServerHandle, FileAttr]:
        """Open ``name`` for ``purpose``, and read its first ``head`` bytes (64 KiB at most, or what
        the server sends at once) in the same round trip. Raises the server's refusal as a
        NetfsError; Disconnected where the file may have been made, or not. With ``on_break``, which
        hears of breaks, a lease is asked for. ``file_id``: what is believed to be there."""
        opening = _Opening(session, name, head, purpose, leasing=on_break is not None)
        opening.file_id = file_id
        opened = None
        try:
            replies = await session.exchange(opening.requests)
            if opening.is_refused_key(replies[0].status):
                opening.file_id = 0
                replies = await session.exchange(opening.requests)
            opened = opening.opened(replies)
        finally:
            if opened is None or opened.lease is None:
                opening.end_lease()
        if opened.lease is not None and on_break is not None:
            opened.lease.on_break = partial(on_break, opened)
        return opened, opened.attr

    @property
    def is_leased(self) -> bool:
        """Whether no other SMB client can have changed the file since it was opened."""
        return self.lease is not None and self.lease.reads

    @property
    def may_write(self) -> bool:
        """Whether it was opened for writing."""
        return bool(self.purpose.access & FILE_WRITE_DATA)

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
        self._end_lease()

    def _end_lease(self) -> None:
        lease, self.lease = self.lease, None
        if lease is not None:
            lease.end()

    @property
    def closes_at_once(self) -> bool:
        """Whether the server closes it before anything that it is asked later: it lets a CLOSE wait
        for reads that are under way."""
        return not self.was_read and self.siblings is None and not self.closing

    def close_at_once(self, session: Session) -> None:
        """CLOSE, before anything that is asked from here on, and wait for nothing."""
        raw, number = self.raw, self.number
        self.lose()
        session.close_later(raw, number)

    async def close(self, session: Session, *, file_id: int | None = None) -> FileAttr | None:
        """CLOSE, unless that was done, or the connection is gone and the handle with it. Where a
        ``file_id`` is given, the file's, the attributes that it has then; None where the server
        does not tell.

        When this returns the server has closed it, whichever of several callers asked first. Never
        raises; bounded in time, shielded from cancellation.
        """
        attr = None
        with trio.CancelScope(shield=True):
            async with self._closing:
                number, self.number = self.number, _CLOSED
                self._end_lease()
                if self.siblings is not None:
                    with trio.move_on_after(_CLOSE_TIMEOUT, shield=True):
                        await self.siblings.aclose()
                if number == session.number != _CLOSED:
                    attr = await self._close(session, number, file_id)
        return attr

    async def _close(self, session: Session, number: int, file_id: int | None) -> FileAttr | None:
        body = pack_close(self.raw, postquery=file_id is not None)
        with trio.move_on_after(_CLOSE_TIMEOUT, shield=True):
            try:
                transport = await session.transport()
                if number == session.number:
                    (reply,) = await transport.exchange([Request(Command.CLOSE, body)])
                    if file_id is not None and not reply.status:
                        return parse_close(reply.message, file_id)
            except NetfsError as failed:
                log.debug("CLOSE: %s", failed)
        return None


class _Opening:
    """The compound that opens the server's path ``name`` with its first ``head`` bytes, and what
    its replies say: of the last attempt for which :meth:`requests` was called."""

    __slots__ = (
        "_asked",
        "_asking",
        "_head",
        "_lease",
        "_leasing",
        "_name",
        "_number",
        "_purpose",
        "_session",
        "file_id",
    )

    def __init__(
        self, session: Session, name: str, head: int, purpose: Purpose, *, leasing: bool
    ) -> None:
        self.file_id = 0
        self._session = session
        self._name = name
        self._head = head
        self._purpose = purpose
        self._leasing = leasing
        self._lease: LeaseHold | None = None
        self._number = _CLOSED
        self._asked = 0.0
        self._asking = 0  # requests before the question whether a link was followed

    def requests(self, transport: Transport) -> list[Request]:
        """CREATE, READ, and the question whether a link was followed, for this connection."""
        session, name, purpose = self._session, self._name, self._purpose
        self._number, self._asked = session.number, trio.current_time()
        self.end_lease()  # of an attempt that failed
        if self._leasing:
            self._lease = session.leases.begin(self.file_id, purpose.lease)
        body = pack_create(
            name,
            access=purpose.access,
            disposition=purpose.disposition,
            options=FILE_NON_DIRECTORY_FILE,
            lease=b"" if self._lease is None else self._lease.context,
        )
        requests = [Request(Command.CREATE, body, undo=undo_create)]
        if self._head:
            room = min(self._head, transport.established.max_read)
            requests.append(Request(Command.READ, pack_read(RELATED_FILE_ID, 0, room), room=room))
        self._asking = len(requests)
        if purpose.disposition == FILE_CREATE:  # it is new: no link, whatever leads to it
            return requests
        return requests + session.followed.question(name)

    def is_refused_key(self, code: int) -> bool:
        """Whether the server knows the lease's key for another file, and so refuses."""
        lease = self._lease
        return code == status.INVALID_PARAMETER and lease is not None and lease.lease.file_id != 0

    def opened(self, replies: list[Reply]) -> ServerHandle:
        """The handle that ``replies`` bring; it has taken the lease if one was granted, and not
        taken back already. Raises the server's refusal as a NetfsError."""
        session, name = self._session, self._name
        created = replies[0]
        followed = session.followed.answer(
            replies[self._asking :], self._number, is_file=not created.status
        )
        if created.status:
            raise status.error_of(created.status, f"CREATE {name!r}", name)
        file = parse_create(created.message)
        opened = ServerHandle(
            file.handle,
            self._number,
            name=name,
            attr=session.file_ids.seen(file.attr),
            volume_id=file.volume_id,
            asked=self._asked,
        )
        opened.is_followed = followed
        opened.purpose = self._purpose
        opened.was_made = file.action == CREATED
        if self._lease is not None:
            self._lease.grant(file.lease, opened.attr.file_id)
            if self._lease.reads:
                opened.lease = self._lease
        if self._head and not replies[1].status:
            offset, length = parse_read(replies[1].message)
            opened.head = replies[1].message[offset : offset + length]
        return opened

    def end_lease(self) -> None:
        """What was asked for is not held."""
        lease, self._lease = self._lease, None
        if lease is not None:
            lease.end()
