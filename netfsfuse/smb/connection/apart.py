"""A compound sent as single requests, one after another: for a server that lets us hold fewer
credits than it has requests.

What the server does for a related compound is done here: the handle of its CREATE, or the one that
its first request names, is that of all; when the CREATE fails, all fail like it. Unrelated requests
are sent as they are.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from dataclasses import replace

from netfsfuse.smb.connection.exchange import Reply, Request
from netfsfuse.smb.wire.create import pack_close, parse_create
from netfsfuse.smb.wire.header import RELATED_FILE_ID, Command

_HANDLE_AT = {
    Command.CLOSE: 8,
    Command.FLUSH: 8,
    Command.LOCK: 8,
    Command.READ: 16,
    Command.WRITE: 16,
    Command.IOCTL: 8,
    Command.QUERY_DIRECTORY: 8,
    Command.CHANGE_NOTIFY: 8,
    Command.QUERY_INFO: 24,
    Command.SET_INFO: 16,
}
"""Where a request's body has the FileId, by [MS-SMB2] 2.2."""


def undo_create(reply: Reply) -> Request:
    """The CLOSE for a CREATE that was answered when no caller waited any more."""
    return Request(Command.CLOSE, pack_close(parse_create(reply.message).handle))


async def exchange_apart(
    requests: Sequence[Request],
    exchange: Callable[[Request], Awaitable[Reply]],
    undo: Callable[[Request, Reply], None],
) -> list[Reply]:
    """The replies to ``requests``, each sent by ``exchange`` when the one before is answered.
    ``undo(request, reply)`` takes back what a request has begun when a later one fails. Raises what
    ``exchange`` does."""
    done: list[tuple[Request, Reply]] = []
    handle, failure = b"", None
    try:
        for request in requests:
            if failure is not None and not request.unrelated:
                done.append((request, failure))
                continue
            if request.command is Command.CREATE:
                request = replace(request, undo=request.undo or undo_create)
            elif handle and not request.unrelated:
                request = _by(handle, request)
            reply = await exchange(request)
            done.append((request, reply))
            if request.unrelated or handle:
                continue
            if request.command is not Command.CREATE:
                handle = _handle_in(request)
            elif reply.status:
                failure = reply
            else:
                handle = parse_create(reply.message).handle
    except BaseException:
        for request, reply in done:
            undo(request, reply)
        raise
    return [reply for _, reply in done]


def _handle_in(request: Request) -> bytes:
    at = _HANDLE_AT[request.command]
    return request.body[at : at + len(RELATED_FILE_ID)]


def _by(handle: bytes, request: Request) -> Request:
    """``request`` for ``handle`` in place of the related one."""
    at = _HANDLE_AT[request.command]
    body = request.body[:at] + handle + request.body[at + len(handle) :]
    return replace(request, body=body)
