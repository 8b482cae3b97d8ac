"""WRITEs on their way to the socket: uncopied, held for as long as needed, and in no one's way."""

from __future__ import annotations

import os
import socket
import struct
from collections.abc import Sequence

import pytest
import trio
import trio.testing

from netfsfuse.errors import Disconnected
from netfsfuse.netfs.demand import Demand
from netfsfuse.netfs.memory.buffer import Buffer
from netfsfuse.smb.connection.crypto import CipherId, Signer, SigningAlgorithm
from netfsfuse.smb.connection.exchange import PayloadSource, Request
from netfsfuse.smb.wire.header import FLAG_SIGNED, HEADER_SIZE, Command
from netfsfuse.smb.wire.write import REQUEST_OVERHEAD, pack_write
from tests.smb import replies
from tests.smb.caller import Caller
from tests.smb.peer import KEYS, Asked, Line, connected, echo

LARGE = 1 << 20


def write_of(line: Line, start: int, content: bytes, *, at: int = 0) -> Request:
    """A WRITE from a buffer of its own, as ``Line.read`` has its buffers."""
    buffer = Buffer(at + len(content), line.freed.append)
    line.buffers.append(buffer)
    buffer.payload[at:] = content
    body = pack_write(b"\x11" * 16, start, len(content))
    return Request(Command.WRITE, body, 16, source=PayloadSource(buffer, at, len(content)))


def written(asked: Asked) -> tuple[int, bytes]:
    """Where a WRITE goes, and what."""
    offset, length, start = struct.unpack_from("<HIQ", asked.body, 2)
    assert offset == REQUEST_OVERHEAD == HEADER_SIZE + 48
    assert len(asked.raw) == offset + length
    return start, asked.raw[offset:]


def answer(asked: Asked, count: int | None = None) -> bytes:
    """The whole was taken, or ``count`` bytes."""
    if count is None:
        count = len(asked.raw) - REQUEST_OVERHEAD
    return replies.reply(9, asked.message_id, struct.pack("<HHIII", 17, 0, count, 0, 0), credits=16)


@pytest.mark.parametrize("algorithm", [None, *SigningAlgorithm])
@pytest.mark.parametrize("cipher", [None, *CipherId])
async def test_what_arrives_is_what_was_to_be_written(
    algorithm: SigningAlgorithm | None, cipher: CipherId | None
) -> None:
    """Whatever size and place, plain, signed by each algorithm, sealed by each cipher."""
    signer = None if algorithm is None or cipher else Signer(algorithm, KEYS[0])
    async with connected(signer=signer, cipher=cipher) as line, trio.open_nursery() as nursery:
        for size, at in ((1, 0), (4096, 7), (300_001, 65536), (LARGE, 0)):
            content = os.urandom(size)
            caller = Caller(line, write_of(line, 1000, content, at=at), demand=Demand(urgent=True))
            nursery.start_soon(caller.run)
            asked = await line.peer.request()
            assert written(asked) == (1000, content)
            if signer is not None:
                assert asked.flags & FLAG_SIGNED
                signer.verify(memoryview(bytearray(asked.raw)))
            await line.peer.answer(answer(asked))
            await caller.over.wait()
            assert caller.replies[0].transferred == size
            assert line.buffers[-1].payload[at:] == content
        assert line.stats.bytes_written == 1 + 4096 + 300_001 + LARGE
        assert line.stats.writes == 4


async def test_a_payload_in_the_middle_of_a_compound() -> None:
    """It is padded as any other part, and the whole is signed."""
    signer = Signer(SigningAlgorithm.AES_CMAC, KEYS[0])
    async with connected(signer=signer) as line, trio.open_nursery() as nursery:
        caller = Caller(line, echo(), write_of(line, 3, b"12345"), echo())
        nursery.start_soon(caller.run)
        parts = await line.peer.requests(3)
        start, content = struct.unpack_from("<Q", parts[1].body, 8)[0], parts[1].body[48:53]
        assert (start, content) == (3, b"12345")
        for part in parts:
            signer.verify(memoryview(bytearray(part.raw)))
        await line.peer.answer(
            replies.reply(13, parts[0].message_id),
            answer(parts[1], 5),
            replies.reply(13, parts[2].message_id),
        )
        await caller.over.wait()


@pytest.mark.parametrize("cipher", [None, CipherId.AES_128_GCM])
async def test_small_messages_go_before_writes_that_wait(cipher: CipherId | None) -> None:
    """Never into the middle of one: all arrive whole."""
    async with (
        connected(send_buffer=4096, cipher=cipher) as line,
        trio.open_nursery() as nursery,
    ):
        contents = [os.urandom(LARGE) for _ in range(3)]
        callers = [Caller(line, write_of(line, n, contents[n])) for n in range(3)]
        callers += [Caller(line, echo()) for _ in range(2)]
        for caller in callers:
            nursery.start_soon(caller.run)
            await trio.testing.wait_all_tasks_blocked()
        assert len(line.transport._outbox) == 5
        asked = await line.peer.requests(5)
        order = [Command.WRITE, Command.ECHO, Command.ECHO, Command.WRITE, Command.WRITE]
        assert [each.command for each in asked] == order
        writes = [each for each in asked if each.command == Command.WRITE]
        assert [written(each) for each in writes] == list(enumerate(contents))
        for each in asked:
            whole = answer(each) if each.command == Command.WRITE else None
            await line.peer.answer(whole or replies.reply(each.command, each.message_id))
        for caller in callers:
            await caller.over.wait()
            assert caller.error is None
        assert not line.transport._outbox


async def test_nothing_goes_into_the_middle_of_a_write_that_is_begun() -> None:
    """Before the task that sends the rest has had its turn, too."""
    async with connected(send_buffer=4096) as line, trio.open_nursery() as nursery:
        content = os.urandom(LARGE)
        callers = [Caller(line, write_of(line, 0, content)), Caller(line, echo())]
        sent = line.transport._sender.send
        together: list[tuple[Sequence[Request], Sequence[int]]] = []
        line.transport._sender.send = (  # type: ignore[method-assign]
            lambda requests, ids: together.append((requests, ids))
        )
        for caller in callers:
            nursery.start_soon(caller.run)
        await trio.testing.wait_all_tasks_blocked()
        for requests, ids in sorted(together, key=lambda each: each[0][0].command):
            sent(requests, ids)
        asked = await line.peer.requests(2)
        assert [each.command for each in asked] == [Command.WRITE, Command.ECHO]
        assert written(asked[0]) == (0, content)
        await line.peer.answer(answer(asked[0]))
        await line.peer.answer(replies.reply(Command.ECHO, asked[1].message_id))
        for caller in callers:
            await caller.over.wait()


async def test_a_buffer_is_held_until_the_socket_has_it_and_the_answer_is_there() -> None:
    """Though its caller is cancelled, and though the answer comes too early."""
    async with connected(send_buffer=4096) as line, trio.open_nursery() as nursery:
        content = os.urandom(LARGE)
        caller = Caller(line, write_of(line, 0, content))
        nursery.start_soon(caller.run)
        await trio.testing.wait_all_tasks_blocked()
        caller.scope.cancel()
        await caller.over.wait()
        (buffer,) = line.buffers
        assert buffer.references == 2
        early = Asked(Command.WRITE, 10, 16, 0, 0, b"", b"")
        await line.peer.answer(answer(early, LARGE))
        await line.transport_idle()
        assert buffer.references == 1
        assert not line.freed
        asked = await line.peer.request()
        assert written(asked) == (0, content)
        await trio.testing.wait_all_tasks_blocked()
        assert line.freed == [buffer]


async def test_the_end_of_the_connection_lets_go_of_what_waits() -> None:
    async with connected(send_buffer=4096) as line, trio.open_nursery() as nursery:
        callers = [Caller(line, write_of(line, n, bytes(LARGE))) for n in range(3)]
        for caller in callers:
            nursery.start_soon(caller.run)
        await trio.testing.wait_all_tasks_blocked()
        line.transport.fail(Disconnected("enough"))
        for caller in callers:
            await caller.over.wait()
            assert type(caller.error) is Disconnected
        await line.transport.ended.wait()
        assert set(line.freed) == set(line.buffers)
        assert not line.transport._outbox
        with pytest.raises(OSError, match="ended"):
            line.transport._outbox.send([(b"late", write_of(line, 0, b"x").source)])
        line.buffers.pop()


async def test_a_server_that_took_more_than_it_was_sent() -> None:
    async with connected() as line, trio.open_nursery() as nursery:
        caller = Caller(line, write_of(line, 0, b"12345"))
        nursery.start_soon(caller.run)
        await line.peer.answer(answer(await line.peer.request(), 6))
        await caller.over.wait()
        assert caller.error is not None
        assert line.stats.bytes_written == 0


async def test_a_write_that_waits_for_the_socket_is_not_passed_over(
    mock_clock: trio.testing.MockClock,
) -> None:
    """An answer is due from when the socket has it, however long that takes while bytes go."""
    async with (
        connected(send_buffer=4096, idle_deadline=20) as line,
        trio.open_nursery() as nursery,
    ):
        writes = [Caller(line, write_of(line, n, bytes(LARGE))) for n in range(2)]
        for caller in writes:
            nursery.start_soon(caller.run)
        line.peer.sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        frame = await line.peer._exactly(4)
        left = int.from_bytes(frame, "big")
        while left:  # 80 s for the first
            left -= len(await line.peer._exactly(min(left, 1 << 16)))
            mock_clock.jump(5)
            await trio.testing.wait_all_tasks_blocked()
        small = Caller(line, echo())
        nursery.start_soon(small.run)
        early = Asked(Command.WRITE, 10, 16, 0, 0, b"", b"")
        await line.peer.answer(answer(early, LARGE))
        for _ in range(2):
            asked = await line.peer.request()
            whole = answer(asked) if asked.command == Command.WRITE else None
            await line.peer.answer(whole or replies.reply(asked.command, asked.message_id))
        for caller in [*writes, small]:
            await caller.over.wait()
            assert caller.error is None


async def test_a_socket_that_takes_nothing_is_given_up(
    autojump_clock: trio.testing.MockClock,
) -> None:
    async with (
        connected(send_buffer=4096, idle_deadline=20) as line,
        trio.open_nursery() as nursery,
    ):
        caller = Caller(line, write_of(line, 0, bytes(LARGE)))
        began = trio.current_time()
        nursery.start_soon(caller.run)
        await caller.over.wait()
        assert type(caller.error) is Disconnected
        assert "takes nothing" in str(caller.error)
        assert 20 <= trio.current_time() - began < 26
