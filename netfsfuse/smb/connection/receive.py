"""The receiving half of a transport: replies from the socket to their buffers.

A READ reply goes from the socket straight into the buffer of its request: its first bytes tell
whose it is, and the rest is received so that payload lies where it belongs, with the header
just below it. So the whole is one piece of memory, verified or decrypted in place. An encrypted
reply shows its header by the beginning of the key stream; that decides where it lands and nothing
else: after decryption it must be the same. Copies of payload: none, but for replies that cannot
be foreseen (compounds, several frames that claim one request).

No caller is told anything before its signature fitted or its decryption succeeded. A forged frame
can at worst scribble on a buffer that waits anyway, before it ends the connection: nothing lands in
a buffer that is being verified or decrypted (``landing``).

No message is received that is longer than the requests it answers allow (``Request.longest``).
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping

import trio

from netfsfuse.errors import Disconnected, ProtocolError
from netfsfuse.smb.connection.crypto import TAG_SIZE, TRANSFORM_SIZE, Sealer
from netfsfuse.smb.connection.exchange import FIXED, REFUSAL, Pending, Reply, Sink
from netfsfuse.smb.connection.handshake_result import HandshakeResult
from netfsfuse.smb.connection.intake import Intake
from netfsfuse.smb.connection.landing import Landing, Landings
from netfsfuse.smb.connection.proving import Proving
from netfsfuse.smb.status import USER_SESSION_DELETED
from netfsfuse.smb.wire.header import (
    FLAG_SIGNED,
    FRAME_SIZE,
    HEADER_SIZE,
    MAGIC_TRANSFORM,
    UNSOLICITED,
    Command,
    Header,
    parse_frame,
    parse_header,
    split_compound,
)
from netfsfuse.smb.wire.read import REPLY_OVERHEAD, parse_read
from netfsfuse.stats import ServerStats

log = logging.getLogger(__name__)


class Receiver:
    """Hands each reply that comes through ``intake`` and has proved right to ``deliver``.

    ``pending`` is the transport's table, looked at and never changed here. ``on_break`` gets the
    server's lease breaks, which no signature protects.
    """

    def __init__(
        self,
        established: HandshakeResult,
        pending: Mapping[int, Pending],
        deliver: Callable[[Header, Reply], None],
        stats: ServerStats,
        landings: Landings,
        on_break: Callable[[memoryview], None],
    ) -> None:
        self._sealer = established.sealer
        self._signer = established.signer
        self._sign_requests = established.sign_requests
        sealed = TRANSFORM_SIZE if established.sealer is not None else 0
        ahead = FRAME_SIZE + sealed + HEADER_SIZE
        self.overhead = FRAME_SIZE + sealed  # bytes of each message that are not its own
        self.intake = Intake(established.sock, ahead, self._check_magic)
        self._pending = pending
        self._deliver = deliver
        self._stats = stats
        self._proving = Proving(self._land)
        self._landings = landings
        self._on_break = on_break
        self._told_unsolicited = False

    async def run(self, nursery: trio.Nursery) -> None:
        """Receive for ever. ``nursery`` runs what goes on in threads; the buffers are in use until
        it has ended. Raises Disconnected at the end, ProtocolError on a broken message, there too.
        """
        receive = self._receive_plain if self._sealer is None else self._receive_sealed
        while True:
            prefix = memoryview(await self.intake.prefix())
            self._check_magic(prefix)
            length = parse_frame(prefix)
            self._stats.wire_received += FRAME_SIZE + length
            await receive(prefix[FRAME_SIZE:], length, nursery)

    def _check_magic(self, prefix: memoryview) -> None:
        """``prefix`` begins a frame: is it one of the kind that must come?"""
        parse_frame(prefix)
        sealed = prefix[FRAME_SIZE : FRAME_SIZE + 4] == MAGIC_TRANSFORM
        if sealed and self._sealer is None:
            raise ProtocolError("an encrypted message that was not expected")
        if not sealed and self._sealer is not None:
            raise ProtocolError("a plain reply in an encrypted session")

    # -- plain and signed ---------------------------------------------------------------------

    async def _receive_plain(self, prefix: memoryview, length: int, nursery: trio.Nursery) -> None:
        header = parse_header(prefix)
        sink = await self._free_sink_of(header, length)
        if sink is None:
            self._check_length(header, length)
            message = memoryview(bytearray(length))
            message[:HEADER_SIZE] = prefix
            await self.intake.fill(message[HEADER_SIZE:])
            await self._accept(message)
            return
        check = self._signature_check(header)
        landing = Landing(self._landings, sink, length)
        try:
            landing.message[:HEADER_SIZE] = prefix
            await self.intake.fill(landing.message[HEADER_SIZE:])
        except BaseException:
            landing.wipe()
            raise
        slow = self._signer is not None and self._signer.is_slow
        await self._proving.finish(landing, header, check, nursery, slow=slow)

    def _signature_check(self, header: Header) -> Callable[[memoryview], None] | None:
        """What verifies a message with this header. Raises when it must not be as it is."""
        signer = self._signer
        if signer is None:
            return None
        if header.flags & FLAG_SIGNED:
            return signer.verify
        if header.status == USER_SESSION_DELETED:
            raise Disconnected("the server has dropped the session")
        if self._sign_requests:
            raise ProtocolError("an unsigned reply in a signed session")
        return None

    # -- encrypted ----------------------------------------------------------------------------

    async def _receive_sealed(self, prefix: memoryview, length: int, nursery: trio.Nursery) -> None:
        sealer = self._sealer
        if sealer is None or length < TRANSFORM_SIZE + HEADER_SIZE:
            raise ProtocolError("an encrypted message is too short")
        size = length - TRANSFORM_SIZE
        transform, begun = prefix[:TRANSFORM_SIZE], prefix[TRANSFORM_SIZE:]
        sealer.check(transform, size)
        header = _header_at_first_sight(sealer, transform, begun)
        sink = await self._free_sink_of(header, size) if header is not None else None
        if header is None:
            raise ProtocolError("an encrypted reply was tampered with")
        if sink is None:
            self._check_length(header, size)
            sealed = bytearray(size)
            sealed[:HEADER_SIZE] = begun
            await self.intake.fill(memoryview(sealed)[HEADER_SIZE:])
            await self._accept(memoryview(sealer.unseal(transform, sealed)))
            return
        landing = Landing(self._landings, sink, size, TAG_SIZE)
        try:
            landing.message[:HEADER_SIZE] = begun
            await self.intake.fill(landing.message[HEADER_SIZE:])
        except BaseException:
            landing.wipe()
            raise

        def unseal(message: memoryview) -> None:
            sealer.unseal_in_place(transform, landing.whole)
            if parse_header(message) != header:
                raise ProtocolError("an encrypted reply is not what it seemed to be")

        await self._proving.finish(landing, header, unseal, nursery, slow=sealer.is_slow)

    # -- both ---------------------------------------------------------------------------------

    def _check_length(self, header: Header, length: int) -> None:
        """Whether a message of ``length`` bytes that begins with ``header`` may be."""
        if length <= REFUSAL:
            return
        entry = self._pending.get(header.message_id)
        if entry is None or length > entry.longest:
            raise ProtocolError(f"a message of {length} bytes, longer than was asked for")

    async def _free_sink_of(self, header: Header, length: int) -> Sink | None:
        """Where a reply of ``length`` bytes shall land; None: in memory of its own."""
        while (sink := self._sink_of(header, length)) is not None:
            if self._landings.is_free(sink.buffer):
                return sink
            await self._landings.wait_free(sink.buffer)
        return None

    def _sink_of(self, header: Header, length: int) -> Sink | None:
        """The sink of a successful READ reply that fits it."""
        entry = self._pending.get(header.message_id)
        if (
            entry is None
            or (sink := entry.request.sink) is None
            or header.command != Command.READ
            or header.status != 0
            or header.next_command
            or not REPLY_OVERHEAD <= length <= REPLY_OVERHEAD + sink.length
        ):
            return None
        return sink

    def _land(
        self, landing: Landing, header: Header, prove: Callable[[memoryview], None] | None
    ) -> None:
        try:
            if prove is not None:
                prove(landing.message)
            offset, transferred = parse_read(landing.message)
            if transferred and offset != REPLY_OVERHEAD:
                raise ProtocolError("a READ reply with its payload in an odd place")
        except BaseException:
            landing.wipe()
            raise
        landing.clear()
        self._deliver(header, Reply(header, memoryview(b""), transferred))

    async def _accept(self, message: memoryview) -> None:
        """Take in one message that is complete in memory of its own, decrypted if it was sealed."""
        for part in split_compound(message):
            header = parse_header(part)
            if header.message_id == UNSOLICITED:
                if header.command == Command.OPLOCK_BREAK:
                    self._on_break(part)
                elif not self._told_unsolicited:
                    self._told_unsolicited = True
                    log.info("unsolicited message, command %d: dropped", header.command)
                continue
            if self._sealer is None and not header.is_interim:
                check = self._signature_check(header)
                if check is not None:
                    check(part)
            reply = Reply(header, part)
            if entry := self._pending.get(header.message_id):
                request = entry.request
                if len(part) > FIXED or request.command is Command.READ:
                    request.check(header.status, part)
                if request.source is not None and not header.status:
                    reply.transferred = request.taken(part)
                if request.sink is not None and not header.status:
                    sink = await self._sink_to_copy_to(header.message_id)
                    reply.transferred = sink.fill(part) if sink is not None else 0
            self._deliver(header, reply)

    async def _sink_to_copy_to(self, message_id: int) -> Sink | None:
        while entry := self._pending.get(message_id):
            sink = entry.request.sink
            if sink is None or self._landings.is_free(sink.buffer):
                return sink
            await self._landings.wait_free(sink.buffer)
        return None


def _header_at_first_sight(
    sealer: Sealer, transform: memoryview, begun: memoryview
) -> Header | None:
    """What the header of an encrypted message seems to be; None if it can be none."""
    try:
        return parse_header(sealer.peek(transform, begun))
    except ProtocolError:
        return None
