"""Opening files so that the times in the answer are those of the file now.

As long as any handle of a file is open, Samba shows the write time that it had when the first of
them was opened, to every client and for every kind of query, and its change time is the write time
(measured on 4.17). So while a program here holds a file open, bytes changed in place on the
server's own disk leave size and times as they were, and an open answered with them would be given
old bytes. Therefore an open of a file that we have open already gives up our handles of it, one
and all, and opens it anew; all files then share the new handle.

It costs three round trips, and only where opens of one file overlap. For one of them nothing holds
the file's number, which could be given to a new file at its name; where the server makes creation
times up that would look like the old one changed. So there the file's directory is asked for
before, and if the file has changed, after it: unless that stood still, the old handles are stale.

Opens that wait for the same file meanwhile share the outcome of one that began after they were
asked. The handle of another client that stays open has the same effect, and nothing here can help
that.

Under a lease the server would tell if another client changed the file. Then a handle is shared as
it is, if what it was opened as is what is known of the file, for ``trust`` seconds after it was
opened: the server's own users break no lease. And when no open file uses it any more it is
*parked*, open, for ``closetimeo`` seconds, so that the next open costs nothing. A parked handle
gives way to whatever is asked about its file, for the reason above, and to a break."""

from __future__ import annotations

import logging
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from functools import partial

import trio

from netfsfuse.errors import NetfsError
from netfsfuse.smb.session.session import Session
from netfsfuse.smb.share.compound import stat
from netfsfuse.smb.share.file import SmbFile
from netfsfuse.smb.share.handle import ServerHandle
from netfsfuse.types import FileAttr, coherency_of, creation_is_derived, same_content

log = logging.getLogger(__name__)

PARKED_MAX = 256
PARKED_SIZE_MIN = 64 * 1024
"""Bytes: a smaller file comes whole with its open, and needs no handle for the next. A parked one
stands in the way of a client that deletes the file and makes it anew: Samba 4.17 breaks no lease
for that, and answers DELETE_PENDING as long as any handle is open."""


class _OpenQueue:
    """Opens of one name, one at a time. ``latest``: the last that succeeded, begun at ``begun``."""

    __slots__ = ("begun", "latest", "lock", "waiting")

    def __init__(self) -> None:
        self.lock = trio.Lock()
        self.waiting = 0
        self.latest: SmbFile | None = None
        self.begun = 0.0


class OpenFiles:
    """The files that we have open on one share, by FileId and volume. ``trust``: seconds, 0 for no
    leases."""

    def __init__(self, session: Session, *, trust: float = 0.0) -> None:
        self._session = session
        self._trust = trust
        self._open: dict[tuple[int, int], set[SmbFile]] = {}
        self._queues: dict[str, _OpenQueue] = {}
        self._leased: dict[str, ServerHandle] = {}
        self._parked: dict[ServerHandle, float] = {}  # until when; the first to go first
        self._hooks: dict[ServerHandle, Callable[[], None]] = {}
        self._closing = trio.CancelScope()
        session.scarcity.close_parked.append(self._close_all_parked)

    @property
    def leasing(self) -> bool:
        """Whether leases are to be asked for."""
        return self._trust > 0

    async def open(
        self,
        name: str,
        *,
        head: int = 0,
        known: FileAttr | None = None,
        on_break: Callable[[], None] | None = None,
    ) -> SmbFile:
        """Open for reading, the first ``head`` bytes with it. Raises the server's refusal as a
        NetfsError. ``known``: what the file is believed to be; a handle that is leased as that may
        be shared. ``on_break`` hears when another client is about to change the file."""
        if (shared := self._share_leased(name, known)) is not None:
            return shared
        asked = trio.current_time()
        async with self._queued(name) as queue:
            if queue.latest is not None and queue.begun > asked:
                shared = queue.latest.share()
                if shared is not None:
                    return self._add(shared)
            begun = trio.current_time()
            file = await SmbFile.open(self._session, name, self, head=head)
            self._add(file)
            try:
                while others := self._others(file):
                    begun = trio.current_time()
                    before = await self._folder(name, file, others)
                    await file.renew(others, partial(self._stayed, name, before))
            except BaseException:
                await file.aclose()
                raise
            queue.latest, queue.begun = file, begun
            self._note_lease(file.handle, on_break)
            return file

    async def _folder(self, name: str, file: SmbFile, others: set[SmbFile]) -> FileAttr | None:
        """The directory that holds ``name``, where creation times prove nothing for those of the
        ``others`` that a reader has open; None if it cannot be asked, or need not."""
        read = [other for other in others if not other.is_closed]
        if not read or not any(creation_is_derived(each.attr) for each in (file, *read)):
            return None
        try:
            return await stat(self._session, name.rpartition("\\")[0])
        except NetfsError as failed:
            log.debug("asking for the directory of %r: %s", name, failed)
            return None

    async def _stayed(self, name: str, before: FileAttr | None) -> bool:
        """Whether no name came or went beside ``name`` since its directory was as ``before``."""
        if before is None:
            return False
        try:
            now = await stat(self._session, name.rpartition("\\")[0])
        except NetfsError as failed:
            log.debug("asking for the directory of %r: %s", name, failed)
            return False
        return (now.file_id, now.write, now.change) == (before.file_id, before.write, before.change)

    # -- leases -------------------------------------------------------------------------------

    def _share_leased(self, name: str, known: FileAttr | None) -> SmbFile | None:
        """A file on the handle that is leased, if that is to be trusted; a parked one that is not
        gives way."""
        handle = self._leased.get(name)
        if handle is None:
            return None
        session = self._session
        if (
            known is None
            or not handle.is_leased
            or handle.given_up
            or handle.number != session.number
            or session.live is None
            or trio.current_time() - handle.asked >= self._trust
            or not same_content(coherency_of(handle.attr), known)
        ):
            self.give_way(name)
            return None
        self._unpark(handle)
        return self._add(SmbFile(session, name, handle, handle.attr, self))

    def _note_lease(self, handle: ServerHandle, on_break: Callable[[], None] | None) -> None:
        if handle.is_leased:
            self._leased[handle.name] = handle
            if on_break is not None:
                self._hooks[handle] = on_break

    def replaced(self, old: ServerHandle, new: ServerHandle) -> None:
        """``old`` was closed or lost, and its file is open as ``new``. Files that heard of breaks
        of the old handle hear of the new's."""
        hook = self._hooks.get(old)
        self._forget(old)
        if new.name not in self._leased:
            self._note_lease(new, hook)

    def park(self, handle: ServerHandle) -> bool:
        """Whether ``handle``, which no open file uses any more, is kept for the next open; else the
        caller closes it."""
        seconds = self._session.config.closetimeo
        if (
            seconds <= 0
            or self._session.scarcity.lasts
            or handle.attr.size < PARKED_SIZE_MIN
            or handle.lease is None
            or not handle.lease.keeps_handle
            or handle.given_up
            or handle.siblings is not None
            or self._leased.get(handle.name) is not handle
            or handle.number != self._session.number
        ):
            self._forget(handle)
            return False
        while len(self._parked) >= PARKED_MAX:
            self._close_parked(next(iter(self._parked)))
        if not self._parked:
            self._closing = trio.CancelScope()
            self._session.spawn(self._close_in_time, self._closing)
        self._parked[handle] = trio.current_time() + seconds
        return True

    async def _close_in_time(self, scope: trio.CancelScope) -> None:
        """A task while anything is parked."""
        try:
            with scope:
                while self._parked:
                    handle, until = next(iter(self._parked.items()))
                    if until > trio.current_time():
                        await trio.sleep_until(until)
                    elif handle in self._parked:
                        self._close_parked(handle)
        except Exception:
            for handle in list(self._parked):  # no timer would close them in time
                self._forget(handle)
                handle.lose()
            raise

    def _close_parked(self, handle: ServerHandle) -> None:
        """CLOSE, before anything that is asked from here on, and wait for nothing."""
        self._forget(handle)
        handle.close_at_once(self._session)

    def _close_all_parked(self) -> int:
        parked = list(self._parked)
        for handle in parked:
            self._close_parked(handle)
        return len(parked)

    def give_way(self, name: str) -> None:
        """Something is asked about the file that a parked handle might hide."""
        handle = self._leased.get(name)
        if handle is not None and handle in self._parked:
            self._close_parked(handle)

    def give_way_below(self, directory: str) -> None:
        """The same of all files in ``directory``."""
        for handle in list(self._parked):
            if handle.name.rpartition("\\")[0] == directory:
                self._close_parked(handle)

    def give_way_in(self, tree: str) -> None:
        """The same of all files anywhere below the directory ``tree``."""
        for handle in list(self._parked):
            if handle.name.startswith(f"{tree}\\"):
                self._close_parked(handle)

    def broken(self, handle: ServerHandle) -> None:
        """The lease of ``handle`` was broken."""
        hook = self._hooks.get(handle)
        if handle in self._parked:
            self._close_parked(handle)
        elif not handle.is_leased:
            self._forget(handle)
        if hook is not None:
            hook()

    def _forget(self, handle: ServerHandle) -> None:
        self._hooks.pop(handle, None)
        self._unpark(handle)
        if self._leased.get(handle.name) is handle:
            del self._leased[handle.name]

    def _unpark(self, handle: ServerHandle) -> None:
        if self._parked.pop(handle, None) is not None and not self._parked:
            self._closing.cancel()

    # -- all files ----------------------------------------------------------------------------

    def holds(self, disk_id: tuple[int, int]) -> bool:
        """Whether the file is open here, so that the server may show older times of it."""
        return bool(disk_id[0]) and disk_id in self._open

    def _others(self, file: SmbFile) -> set[SmbFile]:
        """The files with handles of their own on the same file, through which the server may have
        looked. Asked again after each look: the file may have other names, opened meanwhile.
        """
        if not file.attr.file_id:
            return set()
        return {other for other in self._open[file.disk_id] if other.has_other_handle(file)}

    @asynccontextmanager
    async def _queued(self, name: str) -> AsyncIterator[_OpenQueue]:
        queue = self._queues.setdefault(name, _OpenQueue())
        queue.waiting += 1
        try:
            async with queue.lock:
                yield queue
        finally:
            queue.waiting -= 1
            if not queue.waiting:
                del self._queues[name]

    def _add(self, file: SmbFile) -> SmbFile:
        self._open.setdefault(file.disk_id, set()).add(file)
        return file

    def closed(self, file: SmbFile) -> None:
        """``file`` is closed, at the server as well."""
        files = self._open.get(file.disk_id, set())
        files.discard(file)
        if not files:
            self._open.pop(file.disk_id, None)
