"""One TCP connection with a session and a tree, on the trio loop.

Any number of tasks call :meth:`Transport.exchange`. A request takes credits (waiting for them,
demand before readahead), gets the next MessageIds, enters the pending table and is sent
(``send.py``); one receive task (``receive.py``) matches replies by MessageId in any order, and
hands on what has proved right.

Interim replies (STATUS_PENDING) leave the entry in the table and may bring credits. Unsolicited
messages, lease breaks, go to ``on_break``. A caller that is
cancelled leaves its entries behind: they hold the buffers until the reply, whose credits then come
back, or until the connection ends. What the server said to be PENDING is cancelled there, too.

The first fatal error is kept; it ends all waiters and everything that comes later with
Disconnected. How long an answer may take is ``liveness``'s affair.
"""

from __future__ import annotations

import contextlib
import logging
import socket
from collections import deque
from collections.abc import Callable, Sequence

import trio

from netfsfuse.errors import DeadlineExceeded, Disconnected, NetfsError, ProtocolError
from netfsfuse.netfs.demand import Demand
from netfsfuse.smb.connection.accounting import Accounting
from netfsfuse.smb.connection.apart import exchange_apart
from netfsfuse.smb.connection.credit_gate import RESERVE, CreditGate, Unaffordable
from netfsfuse.smb.connection.credits import CREDIT_BYTES, CreditWindow
from netfsfuse.smb.connection.exchange import Exchange, Pending, PendingNotify, Reply, Request
from netfsfuse.smb.connection.handshake_result import HandshakeResult
from netfsfuse.smb.connection.landing import Landings
from netfsfuse.smb.connection.liveness import Patience
from netfsfuse.smb.connection.lookout import Lookout
from netfsfuse.smb.connection.outbox import Outbox
from netfsfuse.smb.connection.pending import PendingTable
from netfsfuse.smb.connection.receive import Receiver
from netfsfuse.smb.connection.send import Sender
from netfsfuse.smb.wire.header import Command, Header, async_id_of
from netfsfuse.stats import ServerStats

log = logging.getLogger(__name__)

_ECHO = b"\x04\0\0\0"
_STANDING_SHARE = 4  # a fourth of the credits may stand with requests that are not answered


class Transport:
    """One connection, requests out and replies in. ``run`` must be running for anything to be
    answered. ``lookout`` tells whether the server seems to live. ``landings``: those of all
    connections that are given the same buffers.
    """

    def __init__(
        self,
        established: HandshakeResult,
        *,
        ceiling: int,
        patience: Patience,
        stats: ServerStats,
        landings: Landings | None = None,
        on_break: Callable[[memoryview], None] = lambda _: None,
    ) -> None:
        self.established = established
        self.error: NetfsError | None = None
        self.ended = trio.Event()
        self._stats = stats
        self._accounting = Accounting(stats)
        self._window = CreditWindow(
            available=established.credits,
            next_message_id=established.next_message_id,
            ceiling=ceiling,
        )
        self._pending = PendingTable(self._window, self._accounting)
        self._gate = CreditGate(self._window, self._void, self._starve)
        self._owed: deque[Request] = deque()  # without a caller, and no credit was at hand
        established.sock.setblocking(False)
        self._sock = established.sock
        self._trio_sock = trio.socket.from_stdlib_socket(established.sock)
        self._outbox = Outbox(self._sock, self._trio_sock, established.sealer, stats)
        self._sender = Sender(
            established,
            self._outbox,
            self._window.ask,
            lambda failed: self.fail(Disconnected(f"send: {failed}")),
        )
        self._receiver = Receiver(
            established, self._pending, self._deliver, stats, landings or Landings(), on_break
        )
        self.lookout = Lookout(
            self._sock,
            self._pending,
            self._receiver.intake,
            self._outbox,
            patience,
            self._send_echo,
            self._give_up,
        )
        self._told_unasked = False

    @property
    def largest_charge(self) -> int:
        """Credits that one request may cost without waiting for ever: what the server lets us
        hold, less a few so that look-ups get through beside reads.
        """
        return self._gate.largest_charge

    @property
    def largest_read(self) -> int:
        """Bytes that one READ may ask for: what credits allow, and the server at all."""
        return min(self._gate.largest_charge * CREDIT_BYTES, self.established.max_read)

    @property
    def largest_write(self) -> int:
        """Bytes that one WRITE may bring: what credits allow, and the server at all."""
        return min(self._gate.largest_charge * CREDIT_BYTES, self.established.max_write)

    @property
    def read_capacity(self) -> int:
        """Bytes of reads, or of writes, that the credits now held allow at once."""
        return self._gate.largest_charge * CREDIT_BYTES

    async def exchange(
        self, requests: Sequence[Request], demand: Demand | None = None
    ) -> list[Reply]:
        """Send ``requests`` (a related compound if more than one) and wait for all final replies.

        ``demand`` is that of a read or a write; without one it is a question about names or
        attributes, which go first.

        Statuses are for the caller to judge. Raises Disconnected or ProtocolError when the
        connection ended, DeadlineExceeded when one stays PENDING for too long. Cancellation leaves
        the requests to be answered into the void.

        A compound that costs more credits than the server lets us hold is sent request by request.
        A single request that does raises Unaffordable: ask for less.
        """
        try:
            first_id = await self._gate.take(sum(r.charge for r in requests), demand)
        except Unaffordable:
            if len(requests) == 1:
                raise
            return await exchange_apart(requests, self._exchange_one, self._undo)
        exchange = Exchange.of(len(requests))
        ids = self._register(requests, exchange, first_id)
        try:
            self._sender.send(requests, ids)
            if demand is not None:
                demand.sent = True
            await exchange.done.wait()
        except trio.Cancelled:  # maybe answered in the same moment
            self._leave(requests, exchange, ids)
            raise
        if exchange.missing:
            self._leave(requests, exchange, ids)
            raise exchange.failure or self.error or Disconnected("the connection ended")
        return [reply for reply in exchange.replies if reply is not None]

    async def _exchange_one(self, request: Request) -> Reply:
        return (await self.exchange([request]))[0]

    def _starve(self) -> None:
        """A caller waits for a credit that nothing will bring, for all that the window knows."""
        if self._pending.only_standing:
            self.fail(Disconnected("the server has taken back all credits"))

    def _register(
        self, requests: Sequence[Request], exchange: Exchange, first_id: int
    ) -> list[int]:
        """Enter the requests into the pending table; returns their MessageIds."""
        ids = self._pending.enter(requests, exchange, first_id)
        self.lookout.asked()
        return ids

    def _leave(self, requests: Sequence[Request], exchange: Exchange, ids: list[int]) -> None:
        """No caller waits for ``exchange`` any more: take back what it has begun, and have the
        server leave off what it is at."""
        for request, answer, message_id in zip(requests, exchange.replies, ids, strict=True):
            if answer is not None:
                self._undo(request, answer)
            elif entry := self._pending.get(message_id):
                entry.exchange = None
                if entry.interim:
                    self._cancel(message_id, entry)

    def _give_up(self, message_id: int, entry: Pending) -> None:
        """It took too long: tell the caller, and cancel it."""
        log.info("%s was PENDING for too long: given up", entry.request.command.name)
        exchange, entry.exchange = entry.exchange, None
        if exchange is not None:
            exchange.failure = DeadlineExceeded("the server is at it for too long")
            exchange.done.set()
        self._cancel(message_id, entry)

    def _cancel(self, message_id: int, entry: Pending) -> None:
        """Ask the server to end at once what it has answered STATUS_PENDING. It costs no credit and
        is not answered itself; the request still is. A standing one ends with its handle."""
        if entry.request.standing or entry.cancelled_at is not None or self.error is not None:
            return
        entry.cancelled_at = trio.current_time()
        self._accounting.cancelled()
        self._sender.cancel(message_id, entry.async_id)

    def _void(self, first_id: int, charge: int) -> None:
        """Use up MessageIds whose caller was cancelled, each with an ECHO without a caller."""
        if self.error is not None:
            return
        for message_id in range(first_id, first_id + charge):
            self._send_unheard(Request(Command.ECHO, _ECHO), message_id)

    def _send_echo(self) -> bool:
        return self.post(Request(Command.ECHO, _ECHO))

    def _send_unheard(self, request: Request, message_id: int) -> None:
        """Send ``request``, whose answer no caller waits for."""
        ids = self._register([request], Exchange.of(1), message_id)
        self._pending[message_id].exchange = None
        self._sender.send([request], ids)

    async def run(self) -> None:
        """Receive until the connection ends or the task is cancelled. Never raises but Cancelled.

        Owns the socket: closes it on the way out and ends every waiter. They are woken only once
        ``error`` is set: a caller that asks again at once must not take the connection for a live
        one."""
        self._stats.channels += 1
        try:
            async with trio.open_nursery() as nursery:
                nursery.start_soon(self._outbox.run)
                nursery.start_soon(self.lookout.run)
                await self._receiver.run(nursery)
        except* (OSError, trio.ClosedResourceError, trio.BrokenResourceError) as failed:
            self.fail(Disconnected(f"connection lost: {failed.exceptions[0]}"))
        except* NetfsError as failed:
            error = failed.exceptions[0]
            self.fail(error if isinstance(error, NetfsError) else Disconnected(str(error)))
        except* Exception as failed:
            log.exception("a reply that was not foreseen")
            self.fail(ProtocolError(f"unreadable reply: {failed.exceptions[0]}"))
        finally:
            self.fail(Disconnected("the connection was closed"))
            self._outbox.close()
            self._pending.release()
            self._stats.channels -= 1
            self.ended.set()
            self._accounting.show_credits(0)
            self._trio_sock.close()

    def fail(self, error: NetfsError) -> None:
        """End the connection: the first error is kept and raised to every caller."""
        if self.error is not None:
            return
        self.error = error
        log.info("connection ended: %s", error)
        with contextlib.suppress(OSError):
            self._sock.shutdown(socket.SHUT_RDWR)
        self._gate.fail(error)

    def _deliver(self, header: Header, reply: Reply) -> None:
        entry = self._pending.get(header.message_id)
        if entry is None or (header.is_interim and entry.interim):
            self._drop_unasked(header)
            return
        if header.command != entry.request.command:
            raise ProtocolError(f"{entry.request.command.name} was answered as something else")
        self._window.grant(header.credits)
        if header.is_interim or header.command == Command.ECHO:
            self.lookout.beside += len(reply.message) + self._receiver.overhead
        if header.is_interim:
            if header.credits:  # for those it cost: it stands for nothing from here on
                self._pending.settle_credits(entry)
            entry.interim, entry.async_id = True, async_id_of(reply.message)
            if entry.exchange is None:
                self._cancel(header.message_id, entry)
        else:
            self._pending.leave(header.message_id)
            self._accounting.answered(entry, reply)
            self.lookout.heard(entry)
            exchange = entry.exchange
            if exchange is None:
                self._undo(entry.request, reply)
            else:
                exchange.replies[entry.index] = reply
                exchange.missing -= 1
                if not exchange.missing:
                    exchange.done.set()
        while self._owed and self.post(self._owed[0]):
            self._owed.popleft()
        self._gate.serve()
        self._accounting.show_credits(self._window.available)

    def _drop_unasked(self, header: Header) -> None:
        """A reply that is none: replayed, duplicated, made up. It brings nothing, no credits
        either; the log says so once a connection."""
        if not self._told_unasked:
            self._told_unasked = True
            log.warning("reply to MessageId %d, which was not asked for", header.message_id)

    def post(self, request: Request) -> bool:
        """Send ``request`` of one credit, whose answer no caller waits for; False, and nothing
        sent, when no credit is at hand. It goes before all that wait for credits: it gives back
        what the server holds for us, or what others wait for there."""
        if self.error is not None or not self._window.affords(1):
            return False
        self._send_unheard(request, self._window.take(1))
        return True

    def send_standing(self, requests: Sequence[Request]) -> list[PendingNotify] | None:
        """Send ``requests``, a related compound if more than one, each to be waited for by itself.
        None, and nothing sent, when the credits are not at hand. Never waits."""
        window = self._window
        charge = sum(request.charge for request in requests)
        if self.error is not None or not window.affords(charge, RESERVE):
            return None
        if window.standing >= window.usable // _STANDING_SHARE:
            return None
        exchange = Exchange.of(0)
        ids = self._register(requests, exchange, self._window.take(charge))
        standing = []
        for message_id in ids:
            entry = self._pending[message_id]
            entry.exchange, entry.index = Exchange.of(1), 0
            window.standing += entry.request.standing
            standing.append(PendingNotify(entry, entry.exchange, lambda: self.error))
        self._sender.send(requests, ids)
        return standing

    def take_back(self, requests: Sequence[Request], replies: Sequence[Reply | None]) -> None:
        """Undo what ``requests`` have begun, by the replies that are there. Never waits."""
        for request, reply in zip(requests, replies, strict=True):
            self._undo(request, reply)

    def _undo(self, request: Request, reply: Reply | None) -> None:
        """Take back what a cancelled caller had begun, as soon as a credit is at hand for it."""
        if request.undo is None or reply is None or reply.status or self.error is not None:
            return
        undoing = request.undo(reply)
        if not self.post(undoing):
            self._owed.append(undoing)
