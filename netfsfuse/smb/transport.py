"""One TCP connection with a session and a tree, on the trio loop.

Any number of tasks call :meth:`Transport.exchange`. A request takes credits (waiting for them,
demand before readahead), gets the next MessageIds, enters the pending table and is sent; one
receive task matches replies by MessageId in any order. A READ reply goes from the socket straight
into the buffer of its request: 4 + 64 bytes are read to learn whose it is, the header is put into
the headroom just below the target, the rest is received behind it, and the whole, now contiguous,
is verified in place. Copies of payload: none, but one for encrypted replies, whose MessageId is
known only after decryption. System calls for a 1 MiB reply: one small recv and as many large ones
as the kernel needs to deliver it.

Interim replies (STATUS_PENDING) leave the entry in the table and may bring credits. Unsolicited
messages (oplock and lease breaks; we ask for neither) are logged and dropped. A caller that is
cancelled leaves its entries behind: they hold the buffers until the reply, whose credits then come
back, or until the connection ends.

The first fatal error is kept; it ends all waiters and everything that comes later with
Disconnected. A server that is silent for ``idle_deadline`` seconds while somebody waits for it
counts as gone.
"""

from __future__ import annotations

import contextlib
import logging
import socket
from collections import deque
from collections.abc import Sequence

import trio

from netfsfuse.errors import Disconnected, NetfsError, ProtocolError
from netfsfuse.netfs.buffer import PAGE
from netfsfuse.smb.bridge import Established
from netfsfuse.smb.credit_gate import CreditGate
from netfsfuse.smb.credits import CreditWindow
from netfsfuse.smb.crypto import TRANSFORM_SIZE
from netfsfuse.smb.exchange import Exchange, Pending, Reply, Request, Sink
from netfsfuse.smb.status import USER_SESSION_DELETED
from netfsfuse.smb.wire.header import (
    FLAG_RELATED,
    FLAG_SIGNED,
    FRAME_SIZE,
    HEADER_SIZE,
    MAGIC_TRANSFORM,
    UNSOLICITED,
    Command,
    Header,
    pack_frame,
    pack_header,
    parse_frame,
    parse_header,
    split_compound,
)
from netfsfuse.smb.wire.read import REPLY_OVERHEAD, parse_read
from netfsfuse.stats import ServerStats

log = logging.getLogger(__name__)

_ECHO = b"\x04\0\0\0"
_PREFIX = FRAME_SIZE + HEADER_SIZE
_ROUND_TRIP_WEIGHT = 0.125  # of a new sample, as TCP smooths its own (RFC 6298)


class Transport:
    """See the module. ``run`` must be running for anything to be answered."""

    def __init__(
        self, established: Established, *, ceiling: int, idle_deadline: float, stats: ServerStats
    ) -> None:
        self.established = established
        self.error: NetfsError | None = None
        self._idle_deadline = idle_deadline
        self._stats = stats
        self._window = CreditWindow(
            available=established.credits,
            next_message_id=established.next_message_id,
            ceiling=ceiling,
        )
        self._pending: dict[int, Pending] = {}
        self._gate = CreditGate(self._window, self._void)
        self._outbox: deque[memoryview] = deque()
        self._outbox_filled = trio.Event()
        established.sock.setblocking(False)
        self._sock = established.sock
        self._trio_sock = trio.socket.from_stdlib_socket(established.sock)
        self._received_at = trio.current_time()
        self._verify = established.signer is not None and established.sign_requests

    # -- requests -----------------------------------------------------------------------------

    @property
    def largest_charge(self) -> int:
        """Credits that one request may cost without waiting for ever: what the server lets us
        hold, less a few so that look-ups get through beside reads.
        """
        return self._gate.largest_charge

    async def exchange(self, requests: Sequence[Request], *, urgent: bool = True) -> list[Reply]:
        """Send ``requests`` (a related compound if more than one) and wait for all final replies.

        Statuses are for the caller to judge. Raises Disconnected or ProtocolError when the
        connection ended. Cancellation leaves the requests to be answered into the void.
        """
        first_id = await self._gate.take(sum(r.charge for r in requests), urgent=urgent)
        exchange = Exchange.of(len(requests))
        ids = self._register(requests, exchange, first_id)
        try:
            self._send(requests, ids)
            await self._wait_done(exchange, ids)
        finally:
            if not exchange.done.is_set():
                self._abandon(ids)
        if exchange.missing:
            raise self.error or Disconnected("the connection ended")
        return [reply for reply in exchange.replies if reply is not None]

    def _register(
        self, requests: Sequence[Request], exchange: Exchange, first_id: int
    ) -> list[int]:
        """Enter the requests into the pending table; returns their MessageIds."""
        ids = []
        now = trio.current_time()
        for index, request in enumerate(requests):
            if request.sink is not None:
                request.sink.buffer.hold()
            self._pending[first_id] = Pending(request, exchange, index, now)
            ids.append(first_id)
            first_id += request.charge
            self._count(request)
        return ids

    def _count(self, request: Request) -> None:
        stats = self._stats
        name = request.command.name.lower()
        stats.messages[name] = stats.messages.get(name, 0) + 1
        if request.command is Command.READ:
            stats.reads += 1
            stats.in_flight += 1
            stats.in_flight_peak = max(stats.in_flight_peak, stats.in_flight)

    async def _wait_done(self, exchange: Exchange, ids: list[int]) -> None:
        while True:
            with trio.move_on_after(self._idle_deadline):
                await exchange.done.wait()
                return
            waits = any(i in self._pending and not self._pending[i].interim for i in ids)
            if waits and trio.current_time() - self._received_at >= self._idle_deadline:
                self.fail(Disconnected(f"no word from the server for {self._idle_deadline:g} s"))

    def _abandon(self, ids: list[int]) -> None:
        for message_id in ids:
            if entry := self._pending.get(message_id):
                entry.exchange = None

    def _void(self, first_id: int, charge: int) -> None:
        """Use up MessageIds whose caller was cancelled, each with an ECHO nobody waits for."""
        if self.error is not None:
            return
        for message_id in range(first_id, first_id + charge):
            echo = [Request(Command.ECHO, _ECHO)]
            ids = self._register(echo, Exchange.of(1), message_id)
            self._abandon(ids)
            self._send(echo, ids)

    # -- sending ------------------------------------------------------------------------------

    def _send(self, requests: Sequence[Request], ids: list[int]) -> None:
        """Hand one frame to the socket, or what it does not take to the writer task.

        Requests are small and the socket almost always takes them at once: no task switch.
        """
        message = b"".join(
            self._pack(request, ids[index], index, len(requests))
            for index, request in enumerate(requests)
        )
        if self.established.sealer is not None:
            message = self.established.sealer.seal(message)
        frame = memoryview(pack_frame(len(message)) + message)
        self._stats.wire_sent += len(frame)
        if not self._outbox:
            try:
                frame = frame[self._sock.send(frame) :]
            except BlockingIOError:
                pass
            except OSError as failed:
                self.fail(Disconnected(f"send: {failed}"))
                return
        if frame:
            self._outbox.append(frame)
            self._outbox_filled.set()

    def _pack(self, request: Request, message_id: int, index: int, count: int) -> bytes | bytearray:
        established = self.established
        last = index == count - 1
        padding = 0 if last else -len(request.body) % 8
        flags = FLAG_SIGNED if established.sign_requests else 0
        header = pack_header(
            command=request.command,
            charge=request.charge if established.multi_credit else 0,
            credit_request=self._window.ask(request.charge),
            flags=flags | (FLAG_RELATED if index else 0),
            next_command=0 if last else HEADER_SIZE + len(request.body) + padding,
            message_id=message_id,
            tree_id=established.tree_id,
            session_id=established.session_id,
        )
        packed = bytearray(header + request.body + bytes(padding))
        if established.sign_requests and established.signer is not None:
            established.signer.sign(packed)
        return packed

    async def _write_outbox(self) -> None:
        while True:
            await self._outbox_filled.wait()
            while self._outbox:
                sent = await self._trio_sock.send(self._outbox[0])
                rest = self._outbox[0][sent:]
                if rest:
                    self._outbox[0] = rest
                else:
                    self._outbox.popleft()
            self._outbox_filled = trio.Event()

    # -- receiving ----------------------------------------------------------------------------

    async def run(self) -> None:
        """Receive until the connection ends or the task is cancelled. Never raises but Cancelled.

        Owns the socket: closes it on the way out and ends every waiter. They are woken only once
        ``error`` is set: who asks again at once must not take the connection for a live one.
        """
        self._stats.channels += 1
        try:
            async with trio.open_nursery() as nursery:
                nursery.start_soon(self._write_outbox)
                await self._receive_all()
                nursery.cancel_scope.cancel()  # the writer has no end of its own
        except* (OSError, trio.ClosedResourceError, trio.BrokenResourceError) as failed:
            self.fail(Disconnected(f"connection lost: {failed.exceptions[0]}"))
        except* NetfsError as failed:
            error = failed.exceptions[0]
            self.fail(error if isinstance(error, NetfsError) else Disconnected(str(error)))
        except* Exception as failed:
            log.exception("a reply that nobody foresaw")
            self.fail(ProtocolError(f"unreadable reply: {failed.exceptions[0]}"))
        finally:
            self.fail(Disconnected("the connection was closed"))
            self._release_all()
            self._stats.channels -= 1
            self._trio_sock.close()

    def fail(self, error: NetfsError) -> None:
        """End the connection: the first error is kept and raised to everybody."""
        if self.error is not None:
            return
        self.error = error
        log.info("connection ended: %s", error)
        with contextlib.suppress(OSError):
            self._sock.shutdown(socket.SHUT_RDWR)
        self._gate.fail(error)

    def _release_all(self) -> None:
        """Nothing can be received any more: end the waiters, give the buffers back."""
        pending, self._pending = self._pending, {}
        for entry in pending.values():
            self._settle(entry)
            if entry.exchange is not None:
                entry.exchange.done.set()

    async def _receive_all(self) -> None:
        prefix = bytearray(_PREFIX)
        view = memoryview(prefix)
        while self.error is None:
            await self._receive_exactly(view)
            length = parse_frame(view)
            self._stats.wire_received += FRAME_SIZE + length
            if view[4:8] == MAGIC_TRANSFORM:
                await self._receive_sealed(view[FRAME_SIZE:], length)
            elif (sink := self._sink_of(view[FRAME_SIZE:], length)) is not None:
                await self._receive_read(view[FRAME_SIZE:], length, sink)
            else:
                message = bytearray(length)
                message[:HEADER_SIZE] = view[FRAME_SIZE:]
                await self._receive_exactly(memoryview(message)[HEADER_SIZE:])
                self._accept(memoryview(message), sealed=False)

    async def _receive_exactly(self, target: memoryview) -> None:
        while target:
            received = await self._trio_sock.recv_into(target)
            if not received:
                raise Disconnected("the server closed the connection")
            self._received_at = trio.current_time()
            target = target[received:]

    def _sink_of(self, header: memoryview, length: int) -> Sink | None:
        """The sink of a plain successful READ reply that fits it; None for everything else."""
        parsed = parse_header(header)
        entry = self._pending.get(parsed.message_id)
        if (
            entry is None
            or entry.request.sink is None
            or parsed.command != Command.READ
            or parsed.status != 0
            or parsed.next_command
            or self.established.sealer is not None
            or not REPLY_OVERHEAD <= length <= REPLY_OVERHEAD + entry.request.sink.length
        ):
            return None
        return entry.request.sink

    async def _receive_read(self, header: memoryview, length: int, sink: Sink) -> None:
        """Receive a READ reply so that its payload lands in place; see the module.

        The bytes that the header covers are another part of the payload when ``at`` > 0; they are
        put back before anybody is told.
        """
        start = PAGE + sink.at - REPLY_OVERHEAD
        message = sink.buffer.memory[start : start + length]
        covered = bytes(message[:REPLY_OVERHEAD])
        try:
            message[:HEADER_SIZE] = header
            await self._receive_exactly(message[HEADER_SIZE:])
            parsed = parse_header(message)
            self._check_signature(parsed, message)
            offset, transferred = parse_read(message)
            if transferred and offset != REPLY_OVERHEAD:
                raise ProtocolError("a READ reply with its payload in an odd place")
        finally:
            message[:REPLY_OVERHEAD] = covered
        self._deliver(parsed, Reply(parsed, memoryview(b""), transferred))

    async def _receive_sealed(self, prefix: memoryview, length: int) -> None:
        sealer = self.established.sealer
        if sealer is None or length < TRANSFORM_SIZE + HEADER_SIZE:
            raise ProtocolError("an encrypted message that was not expected")
        transform = memoryview(bytes(prefix[:TRANSFORM_SIZE]))
        sealed = bytearray(length - TRANSFORM_SIZE)
        begun = HEADER_SIZE - TRANSFORM_SIZE
        sealed[:begun] = prefix[TRANSFORM_SIZE:]
        await self._receive_exactly(memoryview(sealed)[begun:])
        self._accept(memoryview(sealer.unseal(transform, sealed)), sealed=True)

    def _accept(self, message: memoryview, *, sealed: bool) -> None:
        """Take in one message that is complete in memory of its own."""
        if self.established.sealer is not None and not sealed:
            raise ProtocolError("a plain reply in an encrypted session")
        for part in split_compound(message):
            header = parse_header(part)
            if header.message_id == UNSOLICITED:
                log.info("unsolicited message, command %d: dropped", header.command)
                continue
            if not sealed and not header.is_interim:
                self._check_signature(header, part)
            entry = self._pending.get(header.message_id)
            reply = Reply(header, part)
            if entry is not None and entry.request.sink is not None and not header.status:
                reply.transferred = entry.request.sink.fill(part)
            self._deliver(header, reply)

    def _check_signature(self, header: Header, message: memoryview) -> None:
        signer = self.established.signer
        if signer is None:
            return
        if header.flags & FLAG_SIGNED:
            signer.verify(message)
        elif header.status == USER_SESSION_DELETED:
            raise Disconnected("the server has dropped the session")
        elif self._verify:
            raise ProtocolError("an unsigned reply in a signed session")

    def _deliver(self, header: Header, reply: Reply) -> None:
        self._window.grant(header.credits)
        entry = self._pending.get(header.message_id)
        if entry is None:
            log.warning("reply to MessageId %d, which nobody asked", header.message_id)
        elif header.is_interim:
            entry.interim = True
        else:
            del self._pending[header.message_id]
            self._settle(entry)
            self._stats.bytes += reply.transferred
            self._measure(entry)
            exchange = entry.exchange
            if exchange is not None:
                exchange.replies[entry.index] = reply
                exchange.missing -= 1
                if not exchange.missing:
                    exchange.done.set()
        self._stats.credits = self._window.available
        self._gate.serve()

    def _settle(self, entry: Pending) -> None:
        """The entry has left the table: its credits are settled and its buffer is let go."""
        request = entry.request
        self._window.settle(request.charge)
        if request.command is Command.READ:
            self._stats.in_flight -= 1
        if request.sink is not None:
            request.sink.buffer.drop()

    def _measure(self, entry: Pending) -> None:
        if entry.request.sink is None and not entry.interim:
            sample = (trio.current_time() - entry.sent_at) * 1000
            known = self._stats.round_trip_ms
            self._stats.round_trip_ms = (
                known + _ROUND_TRIP_WEIGHT * (sample - known) if known else sample
            )
