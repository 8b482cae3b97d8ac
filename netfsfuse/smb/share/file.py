"""One open file on the server: netfs's ServerFile."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterable
from contextlib import AsyncExitStack

import trio

from netfsfuse.errors import Stale
from netfsfuse.netfs.demand import Demand
from netfsfuse.netfs.memory.buffer import Buffer
from netfsfuse.smb import status
from netfsfuse.smb.connection.credits import charge_for
from netfsfuse.smb.connection.exchange import Reply, Request, Sink
from netfsfuse.smb.connection.transport import Transport
from netfsfuse.smb.session.channels import Channels
from netfsfuse.smb.session.session import Session
from netfsfuse.smb.share.handle import ServerHandle
from netfsfuse.smb.share.reopened import Build, Owner, ReopenedFile, breaks
from netfsfuse.smb.share.siblings import Siblings, read_beside
from netfsfuse.smb.wire.header import Command
from netfsfuse.smb.wire.query import ALL_ROOM, pack_query_all, parse_all
from netfsfuse.smb.wire.read import pack_read
from netfsfuse.types import FileAttr, creation_is_derived


class SmbFile(ReopenedFile):
    """One open file, shared or not. Made by :meth:`open`, ended by ``aclose``."""

    @classmethod
    async def open(
        cls,
        session: Session,
        name: str,
        owner: Owner | None = None,
        *,
        head: int = 0,
        file_id: int = 0,
    ) -> SmbFile:
        """Open for reading, the first ``head`` bytes with it. ``file_id``: what is believed to be
        there. Raises the server's refusal as a NetfsError."""
        handle, attr = await ServerHandle.open(
            session, name, head=head, file_id=file_id, on_break=breaks(owner)
        )
        return cls(session, name, handle, attr, owner)

    def share(self) -> SmbFile | None:
        """Another file on the same handle; None when that is not to be had any more."""
        if self._stale is not None or self._handle.number != self._session.number:
            return None
        return SmbFile(self._session, self._name, self._handle, self.attr, self._owner)

    async def read(
        self, start: int, length: int, buffer: Buffer, at: int, *, demand: Demand
    ) -> int:
        """Keeps the contract of ``ServerFile.read``. Reads no more at once than the credits we hold
        allow."""

        def build(handle: bytes, transport: Transport) -> Request:
            fitting = min(length, transport.largest_read)
            body = pack_read(handle, start, fitting)
            return Request(Command.READ, body, charge_for(fitting), Sink(buffer, at, fitting))

        self._handle.was_read = True
        channels = self._session.channels
        if channels.wanted:
            with channels.reading(length):
                reply = await self._read_somewhere(channels, length, build, demand)
        else:
            reply = await self._exchange(build, demand)
        if reply.status == status.SUCCESS:
            return reply.transferred
        if reply.status == status.END_OF_FILE:
            return 0
        raise status.error_of(reply.status, f"READ {self._name!r} at {start}")

    async def _read_somewhere(
        self, channels: Channels[Session], length: int, build: Build, demand: Demand
    ) -> Reply:
        """Through the channel that suits best, and if that fails on the primary connection."""
        handle = self._handle
        lane, sibling = channels.primary, None
        if not handle.may_write:  # a handle elsewhere, without its lease, would break that
            if handle.siblings is None:
                handle.siblings = Siblings(handle, channels)
            lane, sibling = handle.siblings.choose(length)
        if sibling is not None and lane.live is not None and self._stale is None:
            with channels.on(lane, length):
                request = build(sibling.raw, lane.live)
                reply = await read_beside(lane.live, sibling, request, demand)
            if reply is not None:
                return reply
        with channels.on(channels.primary, length):
            return await self._exchange(build, demand)

    @property
    def whole(self) -> memoryview | None:
        """All of the file as ``attr`` describes it, where that came with the handle's open."""
        head = self._handle.head
        is_whole = head is not None and len(head) == self.attr.size
        return head if is_whole and self.attr == self._handle.attr else None

    @property
    def is_held(self) -> bool:
        """Keeps the contract of ``OpenFile.is_held``."""
        return True

    @property
    def closes_at_once(self) -> bool:
        """Keeps the contract of ``OpenFile.closes_at_once``."""
        return self._handle.closes_at_once

    async def hold(self) -> None:
        """Keeps the contract of ``OpenFile.hold``."""

    async def query(self) -> FileAttr:
        """Attributes of the open file itself. Raises Stale when it cannot be reached any more."""
        reply = await self._exchange(
            lambda handle, _: Request(Command.QUERY_INFO, pack_query_all(handle), room=ALL_ROOM)
        )
        if reply.status not in (status.SUCCESS, status.BUFFER_OVERFLOW):
            raise status.error_of(reply.status, f"QUERY_INFO {self._name!r}")
        return self._session.file_ids.seen(parse_all(reply.message))

    async def look(self) -> None:
        """Have ``attr`` say what the file is like now. Raises as :meth:`query`."""
        self._looked = trio.current_time()
        self.attr = await self.query()

    def has_other_handle(self, other: SmbFile) -> bool:
        """Whether the server holds a handle for this file, or soon may, that is not ``other``'s."""
        mine = self._handle
        return mine is not other._handle and (
            mine.number == other._handle.number or mine.closing or self._reopening.locked()
        )

    async def renew(self, others: Iterable[SmbFile], stayed: Callable[[], Awaitable[bool]]) -> None:
        """Give up the handles of this file and of ``others``, which are open on the same FileId,
        and open it anew for all of them: no handle of ours is open when the server looks at it.

        A FileId means one file only as long as it is held open. So a file whose handle had died
        already, with its connection, takes the new handle only if it is its own file for certain:
        a server gives a deleted file's FileId to a new one. It might do so between our CLOSE and
        our CREATE as well. Where it makes creation times up they tell nothing of that; then
        ``stayed`` is asked whether the name has stayed what it was since before this call.

        Raises Stale when the name leads to another file by now; the others find that out by
        themselves.
        """
        files = sorted({self, *others}, key=id)  # one order of locking
        async with AsyncExitStack() as stack:
            for file in files:
                await stack.enter_async_context(file._reopening)
            connection = self._handle.number
            held = {file for file in files if file._handle.number == connection}
            for old in {file._handle for file in files}:
                old.given_up = True
                await old.close(self._session)
            handle, attr = await self._open_anew()
            same = {file for file in files if file._is(attr)}
            if handle.number == connection:
                # Held open until now: only where the server made creation times up it may have
                # moved. It stores the one of a file that an SMB client writes to.
                moved = {
                    file
                    for file in held - same
                    if file.attr.file_id == attr.file_id
                    and (creation_is_derived(attr) or creation_is_derived(file.attr))
                }
                try:
                    if moved <= {self} or await stayed():  # no read went by this one yet
                        same |= moved
                    else:
                        same |= moved & {self}
                except BaseException:
                    await handle.close(self._session)
                    raise
            if self not in same:
                await handle.close(self._session)
                raise Stale(f"{self._name!r} is another file now")
            for file in same:
                if file._stale is None:
                    file._take(handle)
                    file.attr, file._looked = attr, None

    async def aclose(self) -> None:
        """Keeps the contract of ``OpenFile.aclose``."""
        if self._closed:
            return
        self._closed = True
        self._stale = self._stale or f"{self._name!r} is closed"
        handle = self._handle
        handle.users -= 1
        owner = self._owner
        if not handle.users and (owner is None or not owner.park(handle)):
            if handle.closes_at_once:
                handle.close_at_once(self._session)
            else:
                await handle.close(self._session)
        if owner is not None:
            owner.closed(self)
