"""Plain values of the transport: requests, replies, and who waits for what."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

import trio

from netfsfuse.errors import Disconnected, NetfsError, ProtocolError
from netfsfuse.netfs.buffer import Buffer
from netfsfuse.smb.wire.header import Command, Header
from netfsfuse.smb.wire.read import parse_read


@dataclass(slots=True)
class Sink:
    """Where the payload of a READ goes: ``buffer.payload[at : at + length]``."""

    buffer: Buffer
    at: int
    length: int

    def fill(self, message: memoryview) -> int:
        """Copy the payload of a READ reply that could not be received in place."""
        offset, transferred = parse_read(message)
        if transferred > self.length:
            raise ProtocolError("a READ reply longer than was asked for")
        target = self.buffer.payload[self.at : self.at + transferred]
        target[:] = message[offset : offset + transferred]
        return transferred


@dataclass(slots=True)
class Request:
    """One message of an exchange: its body without header, and its CreditCharge.

    ``undo``: what to send after a successful reply that nobody waits for any more, lest a handle
    stay open on the server. ``standing``: it is answered when something happens, which may be
    never: no answer to it is no sign of a dead server.
    """

    command: Command
    body: bytes
    charge: int = 1
    sink: Sink | None = None
    undo: Callable[[Reply], Request] | None = None
    standing: bool = False


@dataclass(slots=True)
class Reply:
    """A final reply. ``message`` is the whole of it, header included; for a sink only the header
    and ``transferred``, the payload's bytes, are of use.
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
    """The requests that one caller waits for together."""

    replies: list[Reply | None]
    missing: int
    done: trio.Event = field(default_factory=trio.Event)

    @classmethod
    def of(cls, count: int) -> Exchange:
        """An exchange of ``count`` requests, none answered."""
        return cls([None] * count, count)


@dataclass(slots=True)
class Pending:
    """An entry of the pending table. ``exchange`` is None once nobody waits any more. ``settled``:
    a standing request's credit has come back."""

    request: Request
    exchange: Exchange | None
    index: int
    sent_at: float
    interim: bool = False
    settled: bool = False

    @property
    def is_due(self) -> bool:
        """Whether a living server would answer soon."""
        return not (self.interim or self.request.standing)


class Standing:
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
            raise self._failure() or Disconnected("the connection ended")
        return reply

    def abandon(self) -> None:
        """Nobody waits for it any more: what it has begun is taken back when it is answered."""
        if not self.done:
            self._pending.exchange = None
