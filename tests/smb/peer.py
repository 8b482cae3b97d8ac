"""A scripted server: the other end of a transport's socket, in the test's own task.

``async with connected() as line`` gives a running transport and its peer. Leaving the block ends
the connection and checks the promise every test shares: nothing pending, no READ counted as in
flight, every buffer given back.
"""

from __future__ import annotations

import math
import socket
import struct
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import NamedTuple

import trio
import trio.testing

from netfsfuse.netfs.memory.buffer import Buffer
from netfsfuse.smb.connection.clock import Reading
from netfsfuse.smb.connection.crypto import TRANSFORM_SIZE, CipherId, Sealer, Signer
from netfsfuse.smb.connection.exchange import Request, Sink
from netfsfuse.smb.connection.handshake_result import HandshakeResult
from netfsfuse.smb.connection.liveness import Patience
from netfsfuse.smb.connection.transport import Transport
from netfsfuse.smb.wire.header import FLAG_SIGNED, MAGIC_TRANSFORM, Command, pack_frame
from netfsfuse.smb.wire.read import pack_read
from netfsfuse.stats import ServerStats
from tests.smb import replies

KEYS = bytes(range(16)), bytes(range(16, 32))
SESSION = 77


class Asked(NamedTuple):
    """One request as the server sees it."""

    command: int
    message_id: int
    charge: int
    credit_request: int
    flags: int
    body: bytes
    raw: bytes


def parse_requests(message: bytes) -> list[Asked]:
    """The requests of one message, compounds taken apart."""
    asked = []
    while message:
        (charge, _, command, credit, flags, following, message_id) = struct.unpack_from(
            "<HIHHIIQ", message, 6
        )
        part = message[:following] if following else message
        asked.append(Asked(command, message_id, charge, credit, flags, part[64:], part))
        message = message[len(part) :] if following else b""
    return asked


class Peer:
    """The server's end. ``signer`` signs what :meth:`answer` sends, ``sealer`` encrypts it."""

    def __init__(self, sock: socket.socket, signer: Signer | None, sealer: Sealer | None) -> None:
        self.sock = trio.socket.from_stdlib_socket(sock)
        self.signer = signer
        self.sealer = sealer
        self._ahead: list[Asked] = []

    async def _exactly(self, length: int) -> bytes:
        data = bytearray()
        while len(data) < length:
            part = await self.sock.recv(length - len(data))
            if not part:
                raise EOFError
            data += part
        return bytes(data)

    async def message(self) -> bytes:
        """The next message, decrypted. Raises EOFError when the client has hung up."""
        message = await self._exactly(int.from_bytes(await self._exactly(4), "big"))
        if message[:4] == MAGIC_TRANSFORM:
            assert self.sealer is not None
            header = memoryview(message[:TRANSFORM_SIZE])
            return self.sealer.unseal(header, bytearray(message[TRANSFORM_SIZE:]))
        assert self.sealer is None
        return message

    async def request(self) -> Asked:
        """The next request; those of a compound one by one."""
        if not self._ahead:
            self._ahead = parse_requests(await self.message())
        return self._ahead.pop(0)

    async def requests(self, count: int) -> list[Asked]:
        """The next ``count``."""
        return [await self.request() for _ in range(count)]

    async def send(self, message: bytes) -> None:
        """One message as it is, in a frame."""
        await self.send_raw(pack_frame(len(message)) + message)

    async def send_raw(self, data: bytes) -> None:
        """Bytes without a frame."""
        view = memoryview(data)
        while view:
            view = view[await self.sock.send(view) :]

    async def answer(self, *parts: bytes) -> None:
        """One reply, or several in a compound, signed or sealed as the session is."""
        message = bytearray()
        whole = replies.compound(*parts)
        for part in parse_requests(whole):  # a reply's header has the same shape
            signed = bytearray(part.raw)
            if self.signer is not None:
                signed[16] |= FLAG_SIGNED
                self.signer.sign(signed)
            message += signed
        await self.send(self.sealer.seal(message) if self.sealer else bytes(message))

    def close(self) -> None:
        """Hang up."""
        self.sock.close()


@dataclass
class Line:
    """A transport with its peer, and the buffers handed out for READs on it."""

    transport: Transport
    peer: Peer
    stats: ServerStats
    ended: trio.Event
    scope: trio.CancelScope
    buffers: list[Buffer] = field(default_factory=list)
    freed: list[Buffer] = field(default_factory=list)

    def read(self, start: int, length: int, *, at: int = 0, charge: int = 1) -> Request:
        """A READ into a buffer of its own."""
        buffer = Buffer(max(at + length, 65536), self.freed.append)
        self.buffers.append(buffer)
        return read_into(buffer, start, length, at=at, charge=charge)

    async def transport_idle(self) -> None:
        """Until nothing is pending: the transport has seen what the peer sent."""
        with trio.fail_after(10):
            while self.transport._pending:
                await trio.testing.wait_all_tasks_blocked()

    @property
    def spent(self) -> int:
        """Credits under way."""
        return self.transport._window.spent

    @property
    def available(self) -> int:
        """Credits on hand."""
        return self.transport._window.available


def read_into(buffer: Buffer, start: int, length: int, *, at: int = 0, charge: int = 1) -> Request:
    """A READ of ``length`` bytes into ``buffer.payload[at:]``."""
    body = pack_read(b"\x11" * 16, start, length)
    return Request(Command.READ, body, charge, Sink(buffer, at, length))


def echo() -> Request:
    """The smallest request there is."""
    return Request(Command.ECHO, b"\x04\0\0\0")


def established(sock: socket.socket, *, credits: int = 64, **more: object) -> HandshakeResult:
    """A session as the handshake hands it over, made by hand."""
    values: dict[str, object] = {
        "dialect": 0x311,
        "session_id": SESSION,
        "tree_id": 5,
        "next_message_id": 10,
        "multi_credit": True,
        "max_read": 8 << 20,
        "max_write": 8 << 20,
        "max_transact": 8 << 20,
        "signer": None,
        "sign_requests": False,
        "sealer": None,
        "clock": Reading(0.0, 0.0, 0.0),
    }
    return HandshakeResult(sock=sock, credits=credits, **(values | more))  # type: ignore[arg-type]


def sealers(cipher: CipherId) -> tuple[Sealer, Sealer]:
    """The client's and the server's end of an encrypted session."""
    up, down = (key * (2 if "256" in cipher.name else 1) for key in KEYS)
    return Sealer(cipher, up, down, SESSION), Sealer(cipher, down, up, SESSION)


@asynccontextmanager
async def connected(
    *,
    credits: int = 64,
    ceiling: int = 512,
    idle_deadline: float = math.inf,
    patience: Patience | None = None,
    signer: Signer | None = None,
    sign_requests: bool = True,
    cipher: CipherId | None = None,
    send_buffer: int = 0,
    pair: tuple[socket.socket, socket.socket] | None = None,
) -> AsyncIterator[Line]:
    """A transport that runs, its peer, and the checks at the end; see the module."""
    ours, theirs = pair or socket.socketpair()
    if send_buffer:
        ours.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, send_buffer)
    theirs.setblocking(False)
    client_sealer, server_sealer = sealers(cipher) if cipher else (None, None)
    stats, scope = ServerStats(), trio.CancelScope()
    session = established(
        ours,
        credits=credits,
        signer=signer,
        sign_requests=signer is not None and sign_requests,
        sealer=client_sealer,
    )
    never = math.inf  # a scripted peer is sent nothing that its script does not know of
    patience = patience or Patience(idle_deadline, echo_interval=never, overdue=never, lost=never)
    transport = Transport(session, ceiling=ceiling, patience=patience, stats=stats)
    line = Line(transport, Peer(theirs, signer, server_sealer), stats, trio.Event(), scope)

    async def run() -> None:
        with scope:
            await transport.run()
        line.ended.set()

    async with trio.open_nursery() as nursery:
        nursery.start_soon(run)
        try:
            yield line
        finally:
            with trio.CancelScope(shield=True):
                line.peer.close()
                await line.ended.wait()
    assert transport.error is not None
    assert transport._pending == {}
    assert line.spent == 0
    assert stats.in_flight == 0
    assert stats.channels == 0
    assert ours.fileno() == -1
    assert [buffer.references for buffer in line.buffers] == [0] * len(line.buffers)
    assert sorted(map(id, line.freed)) == sorted(map(id, line.buffers))
