"""Which names are links that the server follows by itself.

Samba shows a symlink on its disk as what it leads to: attributes, FileId, name, all of it. A change
there is told under the real name, in the directory that holds it. But ``NAME\\.``, which Samba
refuses for a file or directory of its own, it opens if NAME is a link or lies behind one (measured
on 4.17). So the question rides in the compound that opens or lists the file, at its end, where the
refusal does no harm; a handle that comes of it is closed at once.

A server that takes ``NAME\\.`` for NAME opens the share's root by ``.`` as well, which Samba
refuses. One that refuses the name as such cannot tell. Either is asked no more.
"""

from __future__ import annotations

import logging
from collections.abc import Sequence
from typing import TYPE_CHECKING

from netfsfuse.errors import NetfsError
from netfsfuse.smb import status
from netfsfuse.smb.apart import undo_create
from netfsfuse.smb.exchange import Reply, Request
from netfsfuse.smb.wire.create import FILE_READ_ATTRIBUTES, pack_create, parse_create
from netfsfuse.smb.wire.header import Command

if TYPE_CHECKING:
    from netfsfuse.smb.session import Session

log = logging.getLogger(__name__)

_NAME_MAX = 16_000  # characters of a path that is asked about: a CREATE holds little more
_SELF = "\\."


class Followed:
    """See the module. ``asks``: whether the server's answers mean anything, as far as is known."""

    def __init__(self, session: Session) -> None:
        self._session = session
        self._proving = False
        self.asks = True

    def question(self, name: str) -> list[Request]:
        """What to add to the compound that opens the server's path ``name``: nothing or one."""
        if not self.asks or not name or len(name) > _NAME_MAX:
            return []
        return [_open(name + _SELF)]

    def answer(self, replies: Sequence[Reply], number: int, *, is_file: bool) -> bool:
        """Whether the path leads through a link, by the ``replies`` to the question, on connection
        ``number``. ``is_file``: that is what was opened."""
        if not replies:
            return False
        (reply,) = replies
        if reply.status:
            if is_file and reply.status == status.OBJECT_NAME_INVALID:
                self.asks = False
            return False
        self._session.close_later(parse_create(reply.message).handle, number)
        if not self._proving:
            self._proving = True
            self._session.spawn(self._prove)
        return self.asks

    async def _prove(self) -> None:
        """No link leads to the root: a server that opens it by this name opens anything so."""
        try:
            (reply,) = await self._session.exchange(lambda _: [_open(_SELF[1:])])
        except NetfsError as failed:
            log.debug("asking for the root: %s", failed)
            self._proving = False
            return
        if not reply.status:
            self.asks = False
            handle = parse_create(reply.message).handle
            self._session.close_later(handle, self._session.number)
            log.info("the server does not tell which links it follows")


def _open(name: str) -> Request:
    body = pack_create(name, access=FILE_READ_ATTRIBUTES, options=0)
    return Request(Command.CREATE, body, undo=undo_create)
