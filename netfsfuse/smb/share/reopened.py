"""An open file by a handle that is opened again when it was lost.

The handle belongs to one connection. When that is gone the file is opened again by its path, once
for all callers that wait, and must be the same file as before (FileId, and creation time or whole
coherency record): otherwise it is stale for good, since a server may give a dead file's FileId to a
new one. Files may share a handle, see ``openfiles.py``.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from typing import Protocol

import trio

from netfsfuse.errors import IsADirectory, NotFound, Stale
from netfsfuse.netfs.demand import Demand
from netfsfuse.smb import status
from netfsfuse.smb.connection.exchange import Reply, Request
from netfsfuse.smb.connection.transport import Transport
from netfsfuse.smb.session import replay
from netfsfuse.smb.session.replay import Verdict
from netfsfuse.smb.session.session import Session
from netfsfuse.smb.share.handle import READING, Purpose, ServerHandle
from netfsfuse.types import FileAttr, coherency_of, same_content

log = logging.getLogger(__name__)

Build = Callable[[bytes, Transport], Request]
"""Makes the request for a handle, sized to the credits of a connection."""


class Owner(Protocol):
    """Knows all files of the share that are open (``openfiles.py``)."""

    @property
    def leasing(self) -> bool:
        """Whether leases are to be asked for."""
        ...

    def park(self, handle: ServerHandle) -> bool:
        """Whether it takes over a handle that no file uses; else it is closed."""
        ...

    def broken(self, handle: ServerHandle) -> None:
        """The handle's lease was broken."""
        ...

    def replaced(self, old: ServerHandle, new: ServerHandle) -> None:
        """No file uses ``old`` any more, which was closed or lost: the file is open as ``new``."""
        ...

    def closed(self, file: ReopenedFile) -> None:
        """The file is closed, by the server, too."""
        ...


class ReopenedFile:
    """One open file. ``name`` is the server's path, ``purpose`` what it is opened for."""

    def __init__(
        self,
        session: Session,
        name: str,
        handle: ServerHandle,
        attr: FileAttr,
        owner: Owner | None = None,
        purpose: Purpose = READING,
    ) -> None:
        self.attr = attr
        self.disk_id = (attr.file_id, handle.volume_id)
        self._session = session
        self._name = name
        self._handle = handle
        self._owner = owner
        self._purpose = purpose
        self._looked: float | None = None  # when ``attr`` was asked for by itself
        self._stale: str | None = None  # why it can be read no more
        self._closed = False
        self._reopening = trio.Lock()
        handle.users += 1

    @property
    def handle(self) -> ServerHandle:
        """The handle as it is now."""
        return self._handle

    @property
    def is_followed(self) -> bool:
        """Keeps the contract of ``OpenFile.is_followed``."""
        return self._handle.is_followed

    @property
    def name(self) -> str:
        """The server's path that it was opened by."""
        return self._name

    @property
    def asked(self) -> float:
        """When the server was asked for ``attr`` (trio clock)."""
        return self._handle.asked if self._looked is None else self._looked

    async def _exchange(self, build: Build, demand: Demand | None = None) -> Reply:
        """One request on the handle as it is now; once more if connection or handle were lost."""
        handle = self._handle

        def requests(transport: Transport) -> list[Request]:
            nonlocal handle
            handle = self._handle
            return [build(handle.raw, transport)]

        def judge(replies: Sequence[Reply]) -> Verdict:
            if replies[0].status != status.FILE_CLOSED:
                return Verdict.FINAL
            if handle.given_up:  # by ourselves, while the request was on its way
                return Verdict.RENEWED
            handle.lose()
            return Verdict.AGAIN

        outcome = await replay.run(
            self._session, requests, ready=self._ready, judge=judge, demand=demand, resizes=True
        )
        return outcome.replies[0]

    async def _ready(self) -> Transport:
        """The live connection, with ``_handle`` valid on it."""
        if self._stale is not None:
            raise Stale(self._stale)
        transport = await self._session.transport()
        if self._handle.number == self._session.number:
            return transport
        async with self._reopening:
            while True:
                if self._stale is not None:
                    raise Stale(self._stale)
                transport = await self._session.transport()
                if self._handle.number == self._session.number:
                    return transport
                await self._reopen()

    async def _reopen(self) -> None:
        log.info("opening %r again", self._name)
        await self._handle.close(self._session)  # it is lost; its siblings may not be
        try:
            handle, attr = await self._open_anew()
        except (NotFound, IsADirectory) as gone:
            self._stale = self._stale or f"{self._name!r} is gone"
            raise Stale(self._stale) from gone
        if not self._is(attr):
            self._stale = self._stale or f"{self._name!r} is another file now"
        if self._stale is not None:  # for one of these reasons, or closed meanwhile
            await handle.close(self._session)
            raise Stale(self._stale)
        self._take(handle)

    async def _open_anew(self) -> tuple[ServerHandle, FileAttr]:
        return await ServerHandle.open(
            self._session,
            self._name,
            purpose=self._purpose,
            file_id=self.attr.file_id,
            on_break=breaks(self._owner),
        )

    def _is(self, attr: FileAttr) -> bool:
        """Whether ``attr`` describes this file, for all that is known without a handle of it."""
        before = self.attr
        return attr.file_id == before.file_id and (
            attr.creation == before.creation or same_content(coherency_of(before), attr)
        )

    def _take(self, handle: ServerHandle) -> None:
        old, self._handle = self._handle, handle
        old.users -= 1
        handle.users += 1
        handle.was_read |= old.was_read  # what was on its way is asked again
        if not old.users and self._owner is not None:
            self._owner.replaced(old, handle)

    @property
    def is_closed(self) -> bool:
        """Whether ``aclose`` was called: it is read no more."""
        return self._closed


def breaks(owner: Owner | None) -> Callable[[ServerHandle], None] | None:
    """What hears of the breaks of a handle; None where no lease is to be asked for."""
    return None if owner is None or not owner.leasing else owner.broken
