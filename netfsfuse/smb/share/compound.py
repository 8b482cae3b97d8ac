"""Each question about a path is one related compound, one round trip: CREATE, what is asked, CLOSE.
It asks for no more access than the question needs: a user who may not read a file may look at it.
"""

from __future__ import annotations

from collections.abc import Sequence

from netfsfuse.smb import status
from netfsfuse.smb.connection.exchange import Reply, Request
from netfsfuse.smb.session.session import Session
from netfsfuse.smb.wire.create import (
    FILE_OPEN_REPARSE_POINT,
    FILE_READ_ATTRIBUTES,
    pack_close,
    pack_create,
    parse_create,
)
from netfsfuse.smb.wire.header import RELATED_FILE_ID, Command
from netfsfuse.types import FileAttr

_ANSWERS = (status.SUCCESS, status.BUFFER_OVERFLOW, status.END_OF_FILE)
CLOSE = Request(Command.CLOSE, pack_close(RELATED_FILE_ID))


async def ask(
    session: Session,
    name: str,
    *middle: Request,
    access: int = FILE_READ_ATTRIBUTES,
    options: int = FILE_OPEN_REPARSE_POINT,
) -> list[Reply]:
    """CREATE of the server's path ``name``, ``middle``, CLOSE. Raises when the CREATE or one of the
    middle is refused."""
    create = Request(Command.CREATE, pack_create(name, access=access, options=options))
    requests: Sequence[Request] = (create, *middle, CLOSE)
    replies = await session.exchange(lambda _: requests)
    for request, reply in zip(requests[:-1], replies, strict=False):
        if reply.status not in _ANSWERS:
            raise status.error_of(reply.status, f"{request.command.name} {name!r}", name)
    return replies


async def stat(session: Session, name: str) -> FileAttr:
    """Attributes of what is at the server's path ``name`` itself, a link not followed."""
    replies = await ask(session, name)
    return session.file_ids.seen(parse_create(replies[0].message).attr)
