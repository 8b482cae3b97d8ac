"""Changes of names and attributes, each one related compound: CREATE, SET_INFO, CLOSE.

A change may have been made though its answer was lost with the connection, and another client may
have built on it since: it is never sent again blindly (``replay.py``). What happened is found out
by looking at the names on the new connection: gone, or there under the new name, or made since we
asked. Where that shows that nothing was done, the change is sent once more; and a refusal of that
which the first attempt explains (the name is gone, or taken) is its success. Where looking does not
tell, the caller gets Disconnected.

A file that we have open stands in the way: Samba answers ACCESS_DENIED to a rename over it, and to
a rename of a folder with a handle of ours anywhere below. So handles that only wait for a next open
are closed before; the caller ends its watches.
"""

from __future__ import annotations

import logging
from collections.abc import Awaitable, Callable, Sequence
from typing import TypeVar

from netfsfuse.errors import (
    AccessDenied,
    AlreadyExists,
    Disconnected,
    InvalidArgument,
    InvalidName,
    IsADirectory,
    NetfsError,
    NotADirectory,
    NotFound,
    ProtocolError,
)
from netfsfuse.smb import status
from netfsfuse.smb.connection.exchange import Reply, Request
from netfsfuse.smb.session.session import Session
from netfsfuse.smb.share import compound
from netfsfuse.smb.share.lost_answers import is_new, is_still
from netfsfuse.smb.share.openfiles import OpenFiles
from netfsfuse.smb.wire.attributes import with_read_only
from netfsfuse.smb.wire.create import (
    DELETE,
    FILE_CREATE,
    FILE_DIRECTORY_FILE,
    FILE_NON_DIRECTORY_FILE,
    FILE_OPEN_REPARSE_POINT,
    FILE_READ_ATTRIBUTES,
    FILE_WRITE_ATTRIBUTES,
    FILE_WRITE_DATA,
    pack_close,
    pack_create,
    parse_close,
    parse_create,
)
from netfsfuse.smb.wire.header import RELATED_FILE_ID, Command
from netfsfuse.smb.wire.set_info import (
    pack_set_basic,
    pack_set_disposition,
    pack_set_end_of_file,
    pack_set_rename,
)
from netfsfuse.types import FileAttr

log = logging.getLogger(__name__)

T = TypeVar("T")

_CANNOT_DELETE = 0xC0000121
_CLOSE = Request(Command.CLOSE, pack_close(RELATED_FILE_ID, postquery=True))


class SmbMutations:
    """Makes, removes and renames, and sets attributes. All names are the server's paths.

    Every method raises the refusal as a NetfsError, InvalidArgument for a new name that the server
    cannot hold. Cancelled, a change may have been made or not.
    """

    def __init__(self, session: Session, files: OpenFiles) -> None:
        self._session = session
        self._files = files

    # -- making -------------------------------------------------------------------------------

    async def make_directory(self, name: str) -> FileAttr:
        """A new directory; its attributes. Raises AlreadyExists."""
        asked = self._session.clock.now()
        create = pack_create(
            name,
            access=FILE_READ_ATTRIBUTES,
            options=FILE_DIRECTORY_FILE,
            disposition=FILE_CREATE,
        )

        async def look() -> FileAttr | None:
            found = await self._look(name)
            if found is not None and not (found.is_directory and is_new(found, asked)):
                raise AlreadyExists(name)
            return found

        try:
            made = await self._change(name, [Request(Command.CREATE, create), _CLOSE], look)
        except InvalidName as refused:
            raise InvalidArgument(str(refused)) from refused
        return made if isinstance(made, FileAttr) else self._attr_of(made)

    # -- removing -----------------------------------------------------------------------------

    async def remove(self, name: str, *, directory: bool, known: FileAttr | None = None) -> None:
        """Remove an empty directory, or a file or link, ``known`` as that. Raises NotFound,
        NotEmpty, NotADirectory and IsADirectory. What is marked read-only goes as well, as with
        cifs."""
        if directory:
            self._files.give_way_in(name)
        else:
            self._files.give_way(name)
        asked = self._session.clock.now()

        async def look() -> bool | None:
            found = await self._look(name)
            return True if found is None or not is_still(found, known, asked) else None

        try:
            await self._change(name, _removal(name, directory=directory), look)
        except _CannotDelete:
            await self._remove_read_only(name, directory=directory)

    async def _remove_read_only(self, name: str, *, directory: bool) -> None:
        """Clear the mark and remove it in one compound; set it again where it did not go."""
        create, set_disposition, close = _removal(
            name, directory=directory, access=FILE_WRITE_ATTRIBUTES
        )
        clear = pack_set_basic(RELATED_FILE_ID, attributes=with_read_only(0, read_only=False))
        requests = [create, Request(Command.SET_INFO, clear), set_disposition, close]

        async def look() -> bool | None:
            found = await self._look(name)
            return True if found is None or not found.is_read_only else None

        try:
            await self._change(name, requests, look)
        except _CannotDelete as refused:
            raise AccessDenied(str(refused)) from refused
        except NetfsError:
            await self._mark_again(name)
            raise

    async def _mark_again(self, name: str) -> None:
        try:
            await self.set_attributes(name, read_only=True)
        except NetfsError as failed:
            log.info("%r was not removed, and is not marked read-only any more: %s", name, failed)

    # -- renaming -----------------------------------------------------------------------------

    async def rename(
        self, name: str, to: str, *, replace: bool, known: FileAttr | None = None
    ) -> FileAttr:
        """Give what is at ``name`` the name ``to``; returns its attributes after that. ``known``:
        what it is believed to be. Raises AlreadyExists where ``to`` is there and not to be
        replaced, NotEmpty, NotADirectory and IsADirectory where it cannot be."""
        for each in (name, to):
            self._files.give_way(each)
            self._files.give_way_in(each)
        try:
            return await self._rename(name, to, replace=replace, known=known)
        except (AccessDenied, AlreadyExists):
            if not replace or not await self._make_room(name, to):
                raise
        return await self._rename(name, to, replace=replace, known=known)

    async def _rename(
        self, name: str, to: str, *, replace: bool, known: FileAttr | None
    ) -> FileAttr:
        asked = self._session.clock.now()
        access = DELETE | FILE_READ_ATTRIBUTES
        create = pack_create(name, access=access, options=FILE_OPEN_REPARSE_POINT)
        requests = [
            Request(Command.CREATE, create),
            Request(Command.SET_INFO, pack_set_rename(RELATED_FILE_ID, to, replace=replace)),
            _CLOSE,
        ]

        async def look() -> FileAttr | None:
            old, new = await self._look(name), await self._look(to)
            if new is not None and known is not None and known.file_id:
                moved = new.file_id == known.file_id
                if moved and (old is None or old.file_id != new.file_id):
                    return new
            if old is not None and is_still(old, known, asked):
                return None
            raise Disconnected(f"renaming {name!r} was not answered")

        try:
            renamed = await self._change(name, requests, look)
        except InvalidName as refused:
            raise InvalidArgument(str(refused)) from refused
        return renamed if isinstance(renamed, FileAttr) else self._attr_of(renamed)

    async def _make_room(self, name: str, to: str) -> bool:
        """After a refusal: whether what is at ``to`` was in the way, and is removed now. Servers
        let no directory be replaced, and nothing that is marked read-only; cifs removes it, too."""
        old, there = await self._look(name), await self._look(to)
        if old is None or there is None or old.file_id == there.file_id:
            return False
        if there.is_directory and not old.is_directory:
            raise IsADirectory(to)
        if old.is_directory and not there.is_directory:
            raise NotADirectory(to)
        if not there.is_directory and not there.is_read_only:
            return False
        await self.remove(to, directory=there.is_directory)
        return True

    # -- attributes ---------------------------------------------------------------------------

    async def set_attributes(
        self,
        name: str,
        *,
        size: int | None = None,
        access: int | None = None,
        write: int | None = None,
        read_only: bool | None = None,
    ) -> FileAttr:
        """Set size (bytes), times (ns since 1970) or the read-only mark; what the file is like
        afterwards."""
        self._files.give_way(name)
        attributes = 0
        if read_only is not None:
            attributes = with_read_only(await self._attribute_bits(name), read_only)
        wanted = FILE_READ_ATTRIBUTES
        requests = []
        if size is not None:
            wanted |= FILE_WRITE_DATA
            requests.append(Request(Command.SET_INFO, pack_set_end_of_file(RELATED_FILE_ID, size)))
        if access is not None or write is not None or attributes:
            wanted |= FILE_WRITE_ATTRIBUTES
            basic = pack_set_basic(
                RELATED_FILE_ID, access=access, write=write, attributes=attributes
            )
            requests.append(Request(Command.SET_INFO, basic))
        options = FILE_OPEN_REPARSE_POINT if size is None else 0  # what is written may be a stub
        create = pack_create(name, access=wanted, options=options)

        async def look() -> FileAttr | None:
            if size is None:  # times and marks may be set twice with no harm
                return None
            found = await self._look(name)
            if found is None or found.size != size:
                raise Disconnected(f"setting the size of {name!r} was not answered")
            return found if read_only is None and access is None and write is None else None

        requests = [Request(Command.CREATE, create), *requests, _CLOSE]
        changed = await self._change(name, requests, look)
        return changed if isinstance(changed, FileAttr) else self._attr_of(changed)

    async def _attribute_bits(self, name: str) -> int:
        replies = await compound.ask(self._session, name)
        return parse_create(replies[0].message).attributes

    # -- all of them --------------------------------------------------------------------------

    async def _change(
        self,
        name: str,
        requests: Sequence[Request],
        look: Callable[[], Awaitable[T | None]],
    ) -> T | list[Reply]:
        """The replies to ``requests``, all of success; or, where they were lost, what ``look`` says
        was done. None of it: they are sent once more. ``look`` raises where it cannot tell."""
        lost = False
        for _ in range(2):
            try:
                replies = await self._send(name, requests)
            except NetfsError:
                if lost and (done := await look()) is not None:
                    return done
                raise
            if replies is not None:
                return replies
            lost = True
            if (done := await look()) is not None:
                return done
        raise Disconnected(f"a change of {name!r} was not answered")

    async def _send(self, name: str, requests: Sequence[Request]) -> list[Reply] | None:
        """The replies; None where they were lost. Raises Disconnected where nothing was sent."""
        session = self._session
        await session.transport()
        for _ in range(2):
            try:
                replies = await session.exchange(lambda _: requests)
            except (Disconnected, ProtocolError) as failed:
                log.info("a change of %r was not answered: %s", name, failed)
                return None
            refused = replies[0].status in status.SHORT_OF_HANDLES
            if not refused or not session.scarcity.give_way():
                break
        for request, reply in zip(requests, replies, strict=False):
            if reply.status:
                if status.is_end_of_session(reply.status):
                    return None
                what = f"{request.command.name} {name!r}"
                if reply.status == _CANNOT_DELETE:
                    raise _CannotDelete(f"{what}: {status.name_of(reply.status)}")
                raise status.error_of(reply.status, what, name)
        return replies

    async def _look(self, name: str) -> FileAttr | None:
        """What is at ``name`` now."""
        try:
            return await compound.stat(self._session, name)
        except (NotFound, NotADirectory):
            return None

    def _attr_of(self, replies: Sequence[Reply]) -> FileAttr:
        """What the file was like when it was closed, or where the server did not tell, opened."""
        opened = parse_create(replies[0].message).attr
        closed = parse_close(replies[-1].message, opened.file_id)
        return self._session.file_ids.seen(opened if closed is None else closed)


class _CannotDelete(AccessDenied):
    """It is marked read-only."""


def _removal(name: str, *, directory: bool, access: int = 0) -> list[Request]:
    """Disposition and not FILE_DELETE_ON_CLOSE, whose failure a CLOSE does not tell. A link goes,
    and not what it leads to."""
    kind = FILE_DIRECTORY_FILE if directory else FILE_NON_DIRECTORY_FILE
    create = pack_create(name, access=DELETE | access, options=kind | FILE_OPEN_REPARSE_POINT)
    return [
        Request(Command.CREATE, create),
        Request(Command.SET_INFO, pack_set_disposition(RELATED_FILE_ID)),
        Request(Command.CLOSE, pack_close(RELATED_FILE_ID)),
    ]
