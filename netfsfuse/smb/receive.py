"""The receiving half of a transport: frames from the socket, replies to their buffers.

A READ reply goes from the socket straight into the buffer of its request: 4 + 64 bytes are read to
learn whose it is, the header is put into the headroom just below the target, the rest is received
behind it, and the whole, now contiguous, is verified in place. Copies of payload: none, but one for
encrypted replies, whose MessageId is known only after decryption. System calls for a 1 MiB reply:
one small recv and as many large ones as the kernel needs to deliver it.

Nothing is told to anybody before its signature fitted or its decryption succeeded.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping

import trio

from netfsfuse.errors import Disconnected, ProtocolError
from netfsfuse.netfs.buffer import PAGE
from netfsfuse.smb.crypto import TRANSFORM_SIZE
from netfsfuse.smb.established import Established
from netfsfuse.smb.exchange import Pending, Reply, Sink
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

_PREFIX = FRAME_SIZE + HEADER_SIZE


class Receiver:
    """Reads ``sock`` and hands each reply that has proved right to ``deliver``.

    ``pending`` is the transport's table, looked at and never changed here. ``received_at``: when
    something came last (trio clock).
    """

    def __init__(
        self,
        established: Established,
        sock: trio.socket.SocketType,
        pending: Mapping[int, Pending],
        deliver: Callable[[Header, Reply], None],
        stats: ServerStats,
    ) -> None:
        self.received_at = trio.current_time()
        self._established = established
        self._sock = sock
        self._pending = pending
        self._deliver = deliver
        self._stats = stats

    async def run(self) -> None:
        """Receive for ever. Raises Disconnected at the end, ProtocolError on a broken message."""
        prefix = bytearray(_PREFIX)
        view = memoryview(prefix)
        while True:
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
            received = await self._sock.recv_into(target)
            if not received:
                raise Disconnected("the server closed the connection")
            self.received_at = trio.current_time()
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
            or self._established.sealer is not None
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
        sealer = self._established.sealer
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
        if self._established.sealer is not None and not sealed:
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
        signer = self._established.signer
        if signer is None:
            return
        if header.flags & FLAG_SIGNED:
            signer.verify(message)
        elif header.status == USER_SESSION_DELETED:
            raise Disconnected("the server has dropped the session")
        elif self._established.sign_requests:
            raise ProtocolError("an unsigned reply in a signed session")
