"""Requests that a lost connection has left unanswered are sent once more, here and nowhere else.

Only what reads is: it is done twice with no harm. A request that changes something on the server
may have been done before the connection was lost, and another client may have built on it since;
done again it could undo that (a file removed twice is another one's by now). Its caller is told
Disconnected, and it alone knows what to look at before it asks again. Each command that this
client has is in one of two lists, and one in neither is not repeated:

================  =============================================================================
CREATE            if it opens what exists and deletes nothing when it is closed; its handle is
                  gone with the connection
CLOSE             of the handle that the same compound has opened; any other would close what the
                  new connection calls so
IOCTL             FSCTL_GET_REPARSE_POINT
READ, ECHO        always
QUERY_INFO        always
QUERY_DIRECTORY   always: the place in a listing is its handle's, and the caller's to see to
WRITE, SET_INFO   never
FLUSH             never: what it was to make last may be lost with a server that was begun anew
LOCK              never: what was locked is free again with the connection's end
CHANGE_NOTIFY     never: what happened in between would be missed; the watch is begun anew
OPLOCK_BREAK      never: the lease that it answers for is gone with the connection
CANCEL            never: so is what it cancels
NEGOTIATE         never, and so SESSION_SETUP, TREE_CONNECT, TREE_DISCONNECT, LOGOFF: they are one
                  connection's beginning and end
================  =============================================================================

The requests are built for each attempt, since handles and sizes are those of one connection.
"""

from __future__ import annotations

import enum
import logging
from collections.abc import Awaitable, Callable, Sequence
from typing import NamedTuple, Protocol

import trio

from netfsfuse.errors import Disconnected, ProtocolError
from netfsfuse.netfs.demand import Demand
from netfsfuse.smb.connection.credit_gate import Unaffordable
from netfsfuse.smb.connection.exchange import Reply, Request
from netfsfuse.smb.connection.transport import Transport
from netfsfuse.smb.wire.create import closes_related, only_opens
from netfsfuse.smb.wire.header import Command
from netfsfuse.smb.wire.query import only_reads

log = logging.getLogger(__name__)

BROKEN = 2
"""Attempts at what a server answers in a way that is none: the fault is not the line's."""

Build = Callable[[Transport], Sequence[Request]]
"""Makes the requests of one attempt, for the connection as it is then."""

Ready = Callable[[], Awaitable[Transport]]
"""The connection to send on. Raises Disconnected when there is none to be had."""

_REPEATABLE: dict[Command, Callable[[bytes], bool]] = {
    Command.CREATE: only_opens,
    Command.CLOSE: closes_related,
    Command.IOCTL: only_reads,
    Command.READ: lambda _: True,
    Command.ECHO: lambda _: True,
    Command.QUERY_INFO: lambda _: True,
    Command.QUERY_DIRECTORY: lambda _: True,
}

_NEVER = frozenset(
    {
        Command.NEGOTIATE,
        Command.SESSION_SETUP,
        Command.LOGOFF,
        Command.TREE_CONNECT,
        Command.TREE_DISCONNECT,
        Command.CANCEL,
        Command.WRITE,
        Command.FLUSH,
        Command.LOCK,
        Command.SET_INFO,
        Command.CHANGE_NOTIFY,
        Command.OPLOCK_BREAK,
    }
)
"""So that a command which is added is classified by its author: one that is in neither list fails
a test."""


class Verdict(enum.Enum):
    """What a caller makes of replies of a live connection."""

    FINAL = enum.auto()
    AGAIN = enum.auto()  # once more, as if the connection had been lost
    RENEWED = enum.auto()  # once more, and not counted: it was our own doing, and is over


class Outcome(NamedTuple):
    """The last attempt."""

    transport: Transport
    requests: Sequence[Request]
    replies: list[Reply]


class Connected(Protocol):
    """The session, as far as it matters here."""

    async def transport(self) -> Transport:
        """The live connection, made anew if need be. Raises Disconnected."""
        ...

    def lost(self, reply: Reply, transport: Transport) -> bool:
        """Whether ``reply`` says that session or tree are gone; ends the connection if so."""
        ...

    def may_ask_again(self, begun: float, attempts: int) -> bool:
        """Whether what reads, and was first asked at ``begun`` (trio clock), may be asked again
        after so many ``attempts``."""
        ...


def may_repeat(requests: Sequence[Request]) -> bool:
    """Whether all of ``requests`` read only: done twice they do no harm."""
    return all(
        (allows := _REPEATABLE.get(request.command)) is not None and allows(request.body)
        for request in requests
    )


async def once(
    session: Connected,
    transport: Transport,
    requests: Sequence[Request],
    demand: Demand | None = None,
) -> list[Reply] | Disconnected | ProtocolError:
    """The replies of ``transport``, or why it ended meanwhile. A reply which says that session or
    tree are gone ends it as well."""
    try:
        replies = await transport.exchange(requests, demand)
    except (Disconnected, ProtocolError) as failed:
        return failed
    for reply in replies:
        if reply.status and session.lost(reply, transport):
            return Gone(replies)
    return replies


class Gone(Disconnected):
    """The server has answered that it does not know session or tree. ``replies``: all of them."""

    def __init__(self, replies: list[Reply]) -> None:
        super().__init__("the server has ended the session")
        self.replies = replies


async def run(
    session: Connected,
    build: Build,
    *,
    ready: Ready | None = None,
    judge: Callable[[Sequence[Reply]], Verdict] | None = None,
    demand: Demand | None = None,
    resizes: bool = False,
) -> Outcome:
    """Send what ``build`` makes; again, on a new connection, if that one was lost and the requests
    only read, for as long as the session lets it. A broken or unexpected answer is asked for twice.

    ``ready`` gives the connection in place of the session's own. ``judge`` may have replies asked
    for again. ``resizes``: ``build`` makes the requests to the measure of the credits held, and is
    asked again where they have become too large; else that raises Unaffordable. Raises Disconnected
    or ProtocolError when the last attempt failed; replies which say that the session is gone are
    returned after it.
    """
    attempts, broken, begun = 0, 0, trio.current_time()
    while True:
        transport = await (session.transport() if ready is None else ready())
        requests = build(transport)
        attempts += 1
        try:
            replies = await once(session, transport, requests, demand)
        except Unaffordable:
            if not resizes:
                raise
            attempts -= 1
            continue
        broken += isinstance(replies, (ProtocolError, list))
        last = broken >= BROKEN or not session.may_ask_again(begun, attempts)
        if isinstance(replies, Gone):
            if last or not may_repeat(requests):
                return Outcome(transport, requests, replies.replies)
        elif isinstance(replies, (Disconnected, ProtocolError)):
            if last or not may_repeat(requests):
                raise replies
            log.debug("request failed (%s), trying again", replies)
        else:
            verdict = Verdict.FINAL if judge is None else judge(replies)
            if verdict is Verdict.FINAL or not may_repeat(requests):
                return Outcome(transport, requests, replies)
            if verdict is Verdict.RENEWED:
                attempts -= 1
                broken -= 1
            elif last:
                return Outcome(transport, requests, replies)
