"""Plain values of the transport: requests, replies, and which caller waits for what."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import trio

from netfsfuse.errors import Disconnected, NetfsError, ProtocolError
from netfsfuse.netfs.memory.buffer import Buffer
from netfsfuse.smb.wire.header import Command, Header
from netfsfuse.smb.wire.read import parse_read
from netfsfuse.smb.wire.write import parse_write

FIXED = 1024
"""Bytes that a successful reply may have beside what was asked for: headers, padding, and what a
CREATE tells of itself."""

REFUSAL = 20 * 1024
"""Bytes of any other reply: that it is a link may be told with the link's data, 16 KiB at most
([MS-SMB2] 2.2.2.2.1, [MS-FSCC] 2.1.2)."""


@dataclass(slots=True)
class Sink:
    """Where the payload of a READ goes: ``buffer.payload[at : at + length]``."""

    buffer: Buffer
    at: int
    length: int

    def fill(self, message: memoryview) -> int:
        """Copy the payload of a READ reply that passed ``Request.check`` and was not received
        in place."""
        offset, transferred = parse_read(message)
        target = self.buffer.payload[self.at : self.at + transferred]
        target[:] = message[offset : offset + transferred]
        return transferred


@dataclass(slots=True)
class PayloadSource:
    """Where the payload of a WRITE lies: ``buffer.payload[at : at + length]``. It is sent from
    there, uncopied unless it is encrypted: those bytes stay as they are, and the buffer is held,
    until the answer is there and the socket has them all. ``taken_at``: since when that has (trio
    clock)."""

    buffer: Buffer
    at: int
    length: int
    taken_at: float = math.inf

    @property
    def view(self) -> memoryview:
        """The bytes."""
        return self.buffer.payload[self.at : self.at + self.length]


@dataclass(slots=True)
class Request:
    """One message of an exchange: its body without header, and its CreditCharge. ``source`` is
    what follows the body, where that is a WRITE's payload.

    ``undo``: what to send after a successful reply that no caller waits for any more, lest a handle
    stay open on the server. ``standing``: it is answered when something happens, which may be
    never: no answer to it is no sign of a dead server. ``room``: most bytes of payload that a reply
    may bring where there is no sink. ``unrelated``: it has nothing to do with those that it is sent
    with, and shares a message with others of its kind only ([MS-SMB2] 3.3.5.2.7).
    """

    command: Command
    body: bytes
    charge: int = 1
    sink: Sink | None = None
    undo: Callable[[Reply], Request] | None = None
    standing: bool = False
    room: int = 0
    unrelated: bool = False
    source: PayloadSource | None = None

    @property
    def payload(self) -> int:
        """Most bytes that were asked for."""
        return self.room if self.sink is None else self.sink.length

    @property
    def longest(self) -> int:
        """Most bytes of any reply to it."""
        return max(REFUSAL, FIXED + self.payload)

    def check(self, status: int, message: memoryview) -> None:
        """Raise ProtocolError for a whole reply that is longer than was asked for, or, where it is
        payload that may be kept, than it says of itself."""
        longest = self.longest if status else FIXED + self.payload
        if self.command is Command.READ and not status:
            _, transferred = parse_read(message)
            if transferred > self.payload:
                raise ProtocolError("a READ reply longer than was asked for")
            longest = FIXED + transferred
        if len(message) > longest:
            raise ProtocolError(f"a {self.command.name} reply of {len(message)} bytes")

    def taken(self, message: memoryview) -> int:
        """Bytes of ``source`` that the server has, by its successful reply. Raises
        ProtocolError for more than were sent."""
        assert self.source is not None
        count = parse_write(message)
        if count > self.source.length:
            raise ProtocolError(f"{count} bytes written of {self.source.length}")
        return count


@dataclass(slots=True)
class Reply:
    """A final reply. ``message`` is the whole of it, header included; for a sink only the header
    and ``transferred``, the payload's bytes, are of use. For a source these are what was taken.
    """

    header: Header
    message: memoryview
    transferred: int = 0

    @property
    def status(self) -> int:
        """The NTSTATUS."""
        return self.header.status


@dataclass(slots=True)
class Exchange:
    """The requests that one caller waits for together. ``failure``: why it shall wait no longer."""

    replies: list[Reply | None]
    missing: int
    done: trio.Event = field(default_factory=trio.Event)
    failure: NetfsError | None = None

    @classmethod
    def of(cls, count: int) -> Exchange:
        """An exchange of ``count`` requests, none answered."""
        return cls([None] * count, count)


@dataclass(slots=True)
class Pending:
    """An entry of the pending table. ``exchange`` is None once no caller waits any more.
    ``together``: all requests that were sent with it; their answers may come as one. ``settled``:
    its credits have come back. ``async_id``: the server's name for it once it is ``interim``.
    ``cancelled_at``: when the server was told to leave off."""

    request: Request
    exchange: Exchange | None
    index: int
    sent_at: float
    together: Sequence[Request]
    interim: bool = False
    settled: bool = False
    async_id: int = 0
    cancelled_at: float | None = None

    @property
    def since(self) -> float:
        """When it was sent, as far as we can see; infinite while it waits for the socket."""
        source = self.request.source
        return self.sent_at if source is None else source.taken_at

    @property
    def is_due(self) -> bool:
        """Whether a living server would answer soon."""
        return not (self.interim or self.request.standing)

    @property
    def longest(self) -> int:
        """Most bytes of a message that begins with its answer."""
        return sum(request.longest for request in self.together)


class PendingNotify:
    """One request that was sent, and may be answered at any time. ``pending`` is its entry in the
    transport's table, ``failure`` says why the connection ended."""

    __slots__ = ("_exchange", "_failure", "_pending")

    def __init__(
        self, pending: Pending, exchange: Exchange, failure: Callable[[], NetfsError | None]
    ) -> None:
        self._pending = pending
        self._exchange = exchange
        self._failure = failure

    @property
    def done(self) -> bool:
        """Whether it was answered, or never will be."""
        return self._exchange.done.is_set()

    async def reply(self) -> Reply:
        """The answer; cancelled, it may be waited for again. Raises Disconnected."""
        await self._exchange.done.wait()
        return self.now()

    def now(self) -> Reply:
        """The answer that is there. Raises Disconnected."""
        (reply,) = self._exchange.replies
        if reply is None:
            raise self._exchange.failure or self._failure() or Disconnected("the connection ended")
        return reply

    def fail(self, error: NetfsError) -> None:
        """The task that waits for it is told ``error``, and its answer goes nowhere."""
        if not self.done:
            self._pending.exchange = None
            self._exchange.failure = error
            self._exchange.done.set()

    def abandon(self) -> None:
        """No task waits for it any more: what it has begun is taken back when it is answered."""
        if not self.done:
            self._pending.exchange = None
