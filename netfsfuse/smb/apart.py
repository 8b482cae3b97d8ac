"""A compound sent as single requests, one after another: for a server that lets us hold fewer
credits than it has requests.

What the server does for a related compound is done here: the handle of its CREATE, or the one that
its first request names, is that of all; when the CREATE fails, all fail like it.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from dataclasses import replace

from netfsfuse.smb.exchange import Reply, Request
from netfsfuse.smb.wire.create import pack_close, parse_create
from netfsfuse.smb.wire.header import RELATED_FILE_ID, Command

_HANDLE_AT = {
    Command.CLOSE: 8,
    Command.READ: 16,
    Command.IOCTL: 8,
    Command.QUERY_DIRECTORY: 8,
    Command.CHANGE_NOTIFY: 8,
    Command.QUERY_INFO: 24,
}
"""Where a request's body has the FileId, by [MS-SMB2] 2.2."""


def undo_create(reply: Reply) -> Request:
    """The CLOSE for a CREATE that was answered when nobody waited any more."""
    return Request(Command.CLOSE, pack_close(parse_create(reply.message).handle))


async def exchange_apart(
    requests: Sequence[Request],
    exchange: Callable[[Request], Awaitable[Reply]],
    undo: Callable[[Request, Reply], None],
) -> list[Reply]:
    """The replies to ``requests``, each sent by ``exchange`` when the one before is answered.
    ``undo(request, reply)`` takes back what a request has begun when a later one fails. Raises what
    ``exchange`` does."""
    first, *rest = requests
    if first.command is Command.CREATE:
        first = replace(first, undo=first.undo or undo_create)
    replies = [await exchange(first)]
    if first.command is not Command.CREATE:
        handle = _handle_in(first)
    elif replies[0].status:
        return replies * len(requests)
    else:
        handle = parse_create(replies[0].message).handle
    try:
        replies += [await exchange(_by(handle, request)) for request in rest]
    except BaseException:
        undo(first, replies[0])
        raise
    return replies


def _handle_in(request: Request) -> bytes:
    at = _HANDLE_AT[request.command]
    return request.body[at : at + len(RELATED_FILE_ID)]


def _by(handle: bytes, request: Request) -> Request:
    """``request`` for ``handle`` in place of the related one; a further CREATE as it is."""
    if request.command is Command.CREATE:
        return request
    at = _HANDLE_AT[request.command]
    body = request.body[:at] + handle + request.body[at + len(handle) :]
    return replace(request, body=body)
