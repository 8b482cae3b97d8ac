"""Handles under leases: shared with the opens that follow, and kept when no open file uses them.

Under a lease the server would tell if another client changed the file. Then a handle is shared as
it is, if what it was opened as is what is known of the file, for ``trust`` seconds after it was
opened: the server's own users break no lease. And when no open file uses it any more it is
*parked*, open, for ``closetimeo`` seconds, so that the next open costs nothing. A parked handle
gives way to whatever is asked about its file, for the reason above, and to a break.
"""

from __future__ import annotations

from collections.abc import Callable

import trio

from netfsfuse.smb.session.session import Session
from netfsfuse.smb.share.file import SmbFile
from netfsfuse.smb.share.handle import ServerHandle
from netfsfuse.smb.share.reopened import ReopenedFile
from netfsfuse.types import FileAttr, coherency_of, same_content

PARKED_MAX = 256
PARKED_SIZE_MIN = 64 * 1024
"""Bytes: a smaller file comes whole with its open, and needs no handle for the next. A parked one
stands in the way of a client that deletes the file and makes it anew: Samba 4.17 breaks no lease
for that, and answers DELETE_PENDING as long as any handle is open."""


class LeasedHandles:
    """Those of one share. ``trust``: seconds, 0 for no leases."""

    def __init__(self, session: Session, *, trust: float = 0.0) -> None:
        self._session = session
        self._trust = trust
        self._open: dict[tuple[int, int], set[SmbFile]] = {}
        self._leased: dict[str, ServerHandle] = {}
        self._parked: dict[ServerHandle, float] = {}  # until when; the first to go first
        self._hooks: dict[ServerHandle, Callable[[], None]] = {}
        self._closing = trio.CancelScope()
        session.scarcity.close_parked.append(self._close_all_parked)

    @property
    def leasing(self) -> bool:
        """Whether leases are to be asked for."""
        return self._trust > 0

    def _add(self, file: SmbFile) -> SmbFile:
        self._open.setdefault(file.disk_id, set()).add(file)
        return file

    def closed(self, file: ReopenedFile) -> None:
        """``file`` is closed, at the server as well."""
        files = self._open.get(file.disk_id, set())
        files.discard(file)
        if not files:
            self._open.pop(file.disk_id, None)

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
            if not handle.may_write:
                self.give_way(handle.name)  # an older one that was parked while this was opened
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
