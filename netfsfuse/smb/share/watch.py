"""A directory of whose changes the server tells us: a handle, and a CHANGE_NOTIFY that is out.

Between the answer to one CHANGE_NOTIFY and the next the server keeps what changes for the handle,
so nothing is missed in between. :meth:`SmbWatch.begin` sends at once: the server takes what comes
over one connection in order (Samba strictly so), so that what is asked after it and answered is
either as it is now, or will be told to have changed.
"""

from __future__ import annotations

import logging

from netfsfuse.errors import Disconnected, NetfsError, ServerBusy
from netfsfuse.smb import status
from netfsfuse.smb.connection.apart import undo_create
from netfsfuse.smb.connection.exchange import PendingNotify, Request
from netfsfuse.smb.connection.transport import Transport
from netfsfuse.smb.session.session import Session
from netfsfuse.smb.share.names import name_to_local
from netfsfuse.smb.wire.create import (
    FILE_DIRECTORY_FILE,
    FILE_READ_DATA,
    pack_create,
    parse_create,
)
from netfsfuse.smb.wire.header import RELATED_FILE_ID, Command
from netfsfuse.smb.wire.notify import (
    ADDED,
    REMOVED,
    RENAMED_FROM,
    RENAMED_TO,
    ROOM,
    pack_change_notify,
    parse_change_notify,
)
from netfsfuse.types import Change, ChangeKind

log = logging.getLogger(__name__)

_KINDS = {
    ADDED: ChangeKind.CREATED,
    REMOVED: ChangeKind.REMOVED,
    RENAMED_FROM: ChangeKind.RENAMED_FROM,
    RENAMED_TO: ChangeKind.RENAMED_TO,
}
"""All else, streams among it, is a change of the file."""


class SmbWatch:
    """Implements ``vfs.ops.Watch``. Made by :meth:`begin`, ended by :meth:`aclose`; one task asks
    for changes."""

    def __init__(
        self,
        session: Session,
        name: str,
        created: PendingNotify,
        notify: PendingNotify,
        *,
        tree: bool,
    ) -> None:
        self._session = session
        self._name = name
        self._tree = tree
        self._number = session.number
        self._created = created
        self._notify = notify
        self._handle = b""
        self._closed = False

    @classmethod
    def begin(cls, session: Session, name: str, *, tree: bool = False) -> SmbWatch | None:
        """Ask to be told of changes in the directory ``name``, with ``tree`` of all below. None,
        and nothing sent, when there is no connection or no credit at hand. Never waits; refusals
        come with :meth:`begun` and :meth:`changes`."""
        transport = session.live
        if transport is None or session.scarcity.lasts:
            return None
        create = pack_create(name, access=FILE_READ_DATA, options=FILE_DIRECTORY_FILE)
        requests = [
            Request(Command.CREATE, create, undo=undo_create),
            _notify(RELATED_FILE_ID, transport, tree=tree),
        ]
        standing = transport.send_standing(requests)
        if standing is None:
            return None
        watch = cls(session, name, *standing, tree=tree)
        session.scarcity.watches.add(watch)
        return watch

    async def begun(self) -> None:
        """Return once the server tells. Raises its refusal of the directory."""
        if not self._handle:
            created = await self._created.reply()
            if created.status:
                raise status.error_of(created.status, f"CREATE {self._name!r}")
            self._handle = parse_create(created.message).handle
            if self._closed:
                self._close()

    async def changes(self) -> list[Change]:
        """Wait until something changes. [] means that anything may have. Raises the server's
        refusal, and Disconnected when the connection or the handle is gone."""
        await self.begun()
        reply = await self._notify.reply()
        if reply.status == status.NOTIFY_ENUM_DIR:
            changes: list[Change] = []
        elif reply.status:
            raise status.error_of(reply.status, f"CHANGE_NOTIFY {self._name!r}")
        else:
            changes = [
                Change(self._to_local(each.name), _KINDS.get(each.action, ChangeKind.MODIFIED))
                for each in parse_change_notify(reply.message)
            ]
        transport = self._session.live
        if self._closed or transport is None or self._number != self._session.number:
            raise Disconnected("the watch's connection is gone")
        again = transport.send_standing([_notify(self._handle, transport, tree=self._tree)])
        if again is None:
            raise Disconnected("no credit for a watch")
        (self._notify,) = again
        return changes

    def give_way(self) -> None:
        """Close it before anything else is asked: :meth:`changes` raises ServerBusy."""
        self.close()
        for standing in (self._created, self._notify):
            standing.fail(ServerBusy(f"{self._name!r} is not watched any more: handles are short"))

    def _to_local(self, path: str) -> str:
        odd = self._session.odd_names
        if "\\" not in path:
            return name_to_local(path, odd)
        return "/".join(name_to_local(name, odd) for name in path.split("\\"))

    def close(self) -> None:
        """End it: the server forgets it soon. Idempotent, waits for nothing."""
        self._session.scarcity.watches.discard(self)
        if not self._closed:
            self._closed = True
            self._close()

    def _close(self) -> None:
        try:
            if not self._handle and self._created.done:
                self._handle = parse_create(self._created.now().message).handle
        except NetfsError as failed:
            log.debug("a watch that never began: %s", failed)
            return
        if self._handle:
            self._session.close_later(self._handle, self._number)
        else:
            self._created.abandon()
        self._notify.abandon()


def _notify(handle: bytes, transport: Transport, *, tree: bool) -> Request:
    room = min(ROOM, transport.established.max_transact)
    body = pack_change_notify(handle, tree=tree, room=room)
    return Request(Command.CHANGE_NOTIFY, body, standing=True, room=room)
