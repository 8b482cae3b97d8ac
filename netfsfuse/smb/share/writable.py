"""One file that is open for writing: vfs's WritableOpenFile.

Its handle is opened for reading as well where the server lets this user, so that readers of the
mount share it: a second handle of the same file would show its times as they were, and one without
the lease's key would break the lease. When the writer is done and readers are left, these get a
handle of their own before the writer's is closed, for only its CLOSE settles the file's times.

A request that changes the file is not repeated when its connection was lost: its caller is told
Disconnected. Nothing was done where the server says that it does not know the handle, so then the
file is opened anew, and the request sent again.
"""

from __future__ import annotations

import logging
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from typing import Protocol

import trio

from netfsfuse.errors import AccessDenied, NetfsError, ServerError
from netfsfuse.netfs.demand import Demand
from netfsfuse.netfs.memory.buffer import Buffer
from netfsfuse.smb import status
from netfsfuse.smb.connection.credits import charge_for
from netfsfuse.smb.connection.exchange import PayloadSource, Reply, Request
from netfsfuse.smb.connection.transport import Transport
from netfsfuse.smb.session.lease import Holder
from netfsfuse.smb.session.session import Session
from netfsfuse.smb.share.file import SmbFile
from netfsfuse.smb.share.handle import ONLY_WRITING, WRITING, Purpose, ServerHandle
from netfsfuse.smb.share.reopened import Build, Owner, breaks
from netfsfuse.smb.wire.create import FILE_OPEN, FILE_READ_DATA
from netfsfuse.smb.wire.header import Command
from netfsfuse.smb.wire.lock import pack_lock, pack_unlock
from netfsfuse.smb.wire.set_info import pack_set_basic, pack_set_end_of_file
from netfsfuse.smb.wire.write import pack_flush, pack_write
from netfsfuse.types import FileAttr

log = logging.getLogger(__name__)

_APPENDING = 0x7FFF_FFFF_FFFF_FFFE
"""The byte that is locked by those who append."""

_ASK_AGAIN = 1.0
"""Seconds after which a LOCK that waits is taken back and sent anew: where the connection of the
client that held the lock is cut, Samba 4.17 leaves the waiting one unanswered in one cut of ten."""

_FINISH_TIMEOUT = 10.0
"""Seconds for all that ``finish`` asks of the server."""


class WritingOwner(Owner, Protocol):
    """Knows all files of the share that are open (``openfiles.py``), those that are written too."""

    def shared(self, file: SmbFile) -> None:
        """``file`` was opened on the handle of a writer."""
        ...

    def sharing(self, file: SmbFile) -> list[SmbFile]:
        """The other open files that are on the handle of ``file``."""
        ...


class WritableSmbFile(SmbFile):
    """One file, written and maybe read. ``holder`` is asked to give back what was written when
    another client wants the file. Made by :meth:`open_for`, ended by ``finish`` or ``aclose``."""

    def __init__(
        self,
        session: Session,
        name: str,
        handle: ServerHandle,
        attr: FileAttr,
        owner: WritingOwner,
        purpose: Purpose,
        holder: Holder,
    ) -> None:
        super().__init__(session, name, handle, attr, owner, purpose)
        self._files = owner
        self._holder = holder
        self._appending = trio.Lock()
        self._entrust(handle)

    @classmethod
    async def open_for(
        cls,
        session: Session,
        name: str,
        owner: WritingOwner,
        holder: Holder,
        *,
        file_id: int = 0,
        disposition: int = FILE_OPEN,
    ) -> WritableSmbFile:
        """Open for writing, and for reading where the server allows that; make the file as
        ``disposition`` says. ``file_id``: what is believed to be there. Raises the server's refusal
        as a NetfsError; Disconnected where the file may have been made, or not."""

        async def attempt(purpose: Purpose) -> WritableSmbFile:
            handle, attr = await ServerHandle.open(
                session,
                name,
                purpose=purpose._replace(disposition=disposition),
                file_id=file_id,
                on_break=breaks(owner),
            )
            return cls(session, name, handle, attr, owner, purpose, holder)

        try:
            return await attempt(WRITING)
        except AccessDenied:
            return await attempt(ONLY_WRITING)

    def _entrust(self, handle: ServerHandle) -> None:
        if handle.lease is not None:
            handle.lease.holder = self._holder

    def _take(self, handle: ServerHandle) -> None:
        super()._take(handle)
        self._entrust(handle)

    @property
    def was_made(self) -> bool:
        """Whether the open has made the file."""
        return self._handle.was_made

    @property
    def may_read(self) -> bool:
        """Keeps the contract of ``WritableOpenFile.may_read``."""
        return bool(self._purpose.access & FILE_READ_DATA)

    @property
    def is_leased(self) -> bool:
        """Keeps the contract of ``WritableOpenFile.is_leased``."""
        handle, session = self._handle, self._session
        return (
            handle.lease is not None
            and handle.lease.writes
            and handle.number == session.number
            and session.live is not None
        )

    @property
    def closes_at_once(self) -> bool:
        """Keeps the contract of ``OpenFile.closes_at_once``."""
        return False

    def share(self) -> SmbFile:
        """Keeps the contract of ``WritableOpenFile.share``."""
        shared = SmbFile(self._session, self._name, self._handle, self.attr, self._owner)
        shared._stale = self._stale
        self._files.shared(shared)
        return shared

    async def write(
        self, start: int, length: int, buffer: Buffer, at: int, *, demand: Demand
    ) -> int:
        """Keeps the contract of ``WritableFile.write``. Writes no more at once than the credits we
        hold allow, and by the primary connection alone: a handle on a further one would have no
        part in the lease."""

        def build(handle: bytes, transport: Transport) -> Request:
            fitting = min(length, transport.largest_write)
            return Request(
                Command.WRITE,
                pack_write(handle, start, fitting),
                charge_for(fitting),
                source=PayloadSource(buffer, at, fitting),
            )

        reply = await self._change(build, f"at {start}", demand)
        if not reply.transferred:
            raise ServerError(f"WRITE {self._name!r} at {start}: nothing was taken")
        return reply.transferred

    async def flush(self) -> None:
        """Keeps the contract of ``WritableFile.flush``."""
        await self._change(lambda handle, _: Request(Command.FLUSH, pack_flush(handle)))

    async def set_size(self, size: int) -> None:
        """Keeps the contract of ``WritableFile.set_size``."""
        await self._change(
            lambda handle, _: Request(Command.SET_INFO, pack_set_end_of_file(handle, size))
        )

    async def set_times(self, *, access: int | None, write: int | None) -> None:
        """Keeps the contract of ``WritableOpenFile.set_times``: a server leaves alone the times
        that were set by the handle which writes."""
        await self._change(
            lambda handle, _: Request(
                Command.SET_INFO, pack_set_basic(handle, access=access, write=write)
            )
        )

    @asynccontextmanager
    async def appending(self) -> AsyncIterator[int]:
        """Keeps the contract of ``WritableOpenFile.appending``, by a lock on a byte that no file
        reaches: a server has no write of its own at a file's end (Samba takes -1 for an error)."""
        locked: tuple[bytes, int] | None = None

        def lock(handle: bytes, _: Transport) -> Request:
            nonlocal locked
            locked = handle, self._session.number
            unlock = Request(Command.LOCK, pack_unlock(handle, _APPENDING, 1))
            return Request(Command.LOCK, pack_lock(handle, _APPENDING, 1), undo=lambda _: unlock)

        async with self._appending:
            done = False
            while not done:
                with trio.move_on_after(_ASK_AGAIN):
                    await self._change(lock)
                    done = True
            try:
                yield (await self.query()).size
            finally:
                if locked is not None:
                    handle, number = locked
                    unlock = Request(Command.LOCK, pack_unlock(handle, _APPENDING, 1))
                    self._session.send_later(unlock, number)

    async def _change(self, build: Build, where: str = "", demand: Demand | None = None) -> Reply:
        """The reply to a request that was done. Raises the server's refusal."""
        reply = await self._exchange(build, demand)
        if reply.status == status.FILE_CLOSED:  # and nothing was done
            reply = await self._exchange(build, demand)
        if reply.status:
            command = Command(reply.header.command).name
            raise status.error_of(reply.status, f"{command} {self._name!r} {where}".rstrip())
        return reply

    async def finish(self) -> FileAttr | None:
        """Keeps the contract of ``WritableOpenFile.finish``."""
        if self._closed:
            return None
        self._closed = True
        self._stale = self._stale or f"{self._name!r} is closed"
        handle, attr = self._handle, None
        with trio.move_on_after(_FINISH_TIMEOUT, shield=True):
            if handle.users > 1:
                await self._leave_to_readers(handle)
        handle.users -= 1
        if not handle.users and not self._files.park(handle):  # which it never is
            with trio.CancelScope(shield=True):  # bounded by the handle
                attr = await handle.close(self._session, file_id=self.attr.file_id)
        elif handle.lease is not None:
            handle.lease.holder = None
        self._files.closed(self)
        return attr

    async def aclose(self) -> None:
        """Keeps the contract of ``OpenFile.aclose``."""
        await self.finish()

    async def _leave_to_readers(self, handle: ServerHandle) -> None:
        """Give those that share ``handle`` another one, under the same lease; where that is not to
        be had they keep this."""
        files = sorted(self._files.sharing(self), key=id)  # one order of locking
        async with AsyncExitStack() as stack:
            for file in files:
                await stack.enter_async_context(file._reopening)
            try:
                theirs, attr = await ServerHandle.open(
                    self._session,
                    self._name,
                    file_id=self.attr.file_id,
                    on_break=breaks(self._owner),
                )
            except NetfsError as failed:
                log.debug("%r for its readers: %s", self._name, failed)
                return
            same = theirs.number == handle.number and self._is(attr)
            for file in files:
                if same and file._stale is None and file._handle is handle:
                    file._take(theirs)
            if theirs.users:
                handle.given_up = True
                self._files.replaced(handle, theirs)
            else:
                await theirs.close(self._session)
