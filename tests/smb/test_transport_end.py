"""However a connection ends, everybody who waits is told why, and everything is given back.

The checks of ``connected`` hold the second half: no pending entry, no credit, no buffer stays.
"""

from __future__ import annotations

import socket
import struct
from collections.abc import Callable

import pytest
import trio
import trio.testing

from netfsfuse.errors import Disconnected, NetfsError, ProtocolError
from netfsfuse.smb.connection import receive
from netfsfuse.smb.connection.exchange import Request
from netfsfuse.smb.wire.header import Command, pack_frame
from tests.smb import replies
from tests.smb.caller import Caller, all_end_with, waiting
from tests.smb.peer import connected, echo
from tests.smb.replies import read_body, reply


async def test_peer_hangs_up() -> None:
    async with connected() as line, trio.open_nursery() as nursery:
        callers = await waiting(line, nursery)
        line.peer.close()
        await all_end_with(callers, Disconnected)
        with pytest.raises(Disconnected):
            await line.transport.exchange([echo()])


@pytest.mark.parametrize("sent", [1, 4, 67, 68, 100, 500])
async def test_connection_dies_in_the_middle_of_a_reply(sent: int) -> None:
    async with connected() as line, trio.open_nursery() as nursery:
        callers = await waiting(line, nursery)
        message = reply(8, 10, read_body(bytes(1000)))
        await line.peer.send_raw((pack_frame(len(message)) + message)[:sent])
        line.peer.close()
        await all_end_with(callers, Disconnected)


async def test_bytes_below_a_reply_that_never_ends_are_put_back() -> None:
    async with connected() as line, trio.open_nursery() as nursery:
        caller = Caller(line, line.read(0, 1000, at=200))
        line.buffers[0].payload[:200] = b"k" * 200
        nursery.start_soon(caller.run)
        await line.peer.request()
        message = reply(8, 10, read_body(bytes(1000)))
        await line.peer.send_raw((pack_frame(len(message)) + message)[:300])
        line.peer.close()
        await all_end_with([caller], Disconnected)
        assert line.buffers[0].payload[:200] == b"k" * 200


async def test_reset_by_the_peer() -> None:
    listener = socket.create_server(("127.0.0.1", 0))
    with listener:
        client = socket.create_connection(listener.getsockname())
        server, _ = listener.accept()
    async with connected(pair=(client, server)) as line, trio.open_nursery() as nursery:
        callers = await waiting(line, nursery)
        server.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        line.peer.close()
        await all_end_with(callers, Disconnected)


HOSTILE: dict[str, Callable[[], bytes]] = {
    "no smb": lambda: b"HTTP/1.1 400 Bad Request\r\n\r\n".ljust(80, b"x"),
    "too short a frame": lambda: pack_frame(10) + bytes(80),
    "no smb2": lambda: pack_frame(80) + b"\xffSMB" + bytes(76),
    "a request": lambda: pack_frame(70) + reply(8, 10, bytes(6), flags=0),
    "an unreadable compound": lambda: pack_frame(100) + reply(13, 11, bytes(36), following=96),
    "a compound that points far": lambda: pack_frame(68) + reply(13, 11, following=1 << 30),
    "sealed, though nothing was agreed": lambda: pack_frame(200) + b"\xfdSMB" + bytes(196),
    "sealed and short": lambda: pack_frame(70) + b"\xfdSMB" + bytes(66),
    "a READ longer than asked for": lambda: framed(read_body(bytes(1001))),
    "a READ in an odd place": lambda: framed(read_body(bytes(100), offset=88, gap=8)),
    "a READ that points outside": lambda: framed(read_body(bytes(100))[:-1]),
    "a READ without a body": lambda: framed(b""),
    "a READ cut in its body": lambda: framed(read_body(b"")[:-2]),
    "an ECHO of 21 KiB": lambda: framed(bytes(21 << 10), 13, 11),
    "a READ with 2 KiB behind its payload": lambda: framed(read_body(b"x") + bytes(2048)),
    "16 MiB that nobody asked for": lambda: pack_frame(0xFFFFFF) + reply(8, 99, bytes(96)),
    "16 MiB for 1000 bytes": lambda: pack_frame(0xFFFFFF) + reply(8, 10, bytes(96)),
    "a READ that points into its header": lambda: framed(read_body(bytes(100), offset=16)),
}


def framed(body: bytes, command: int = 8, message_id: int = 10) -> bytes:
    message = reply(command, message_id, body)
    return pack_frame(len(message)) + message


@pytest.mark.parametrize("name", HOSTILE)
async def test_a_peer_that_breaks_the_protocol(name: str) -> None:
    async with connected() as line, trio.open_nursery() as nursery:
        callers = await waiting(line, nursery)
        await line.peer.send_raw(HOSTILE[name]())
        await all_end_with(callers, ProtocolError)
        with pytest.raises(ProtocolError):
            await line.transport.exchange([echo()])


async def test_many_replies_that_nobody_asked_for_are_one_line_and_no_credit(
    caplog: pytest.LogCaptureFixture,
) -> None:
    async with connected() as line, trio.open_nursery() as nursery:
        caller = Caller(line, echo())
        nursery.start_soon(caller.run)
        asked = await line.peer.request()
        before = line.available
        for first in (1000, 2000):
            await line.peer.answer(*(reply(13, first + n, credits=9) for n in range(200)))
        await line.peer.send(replies.interim(13, asked.message_id, credits=1))
        for _ in range(50):
            await line.peer.send(replies.interim(13, asked.message_id, credits=9))
        await line.peer.answer(reply(13, asked.message_id, credits=0))
        await caller.over.wait()
        assert caller.error is None
        await line.peer.answer(reply(13, asked.message_id, credits=9))
        await trio.testing.wait_all_tasks_blocked()
        assert line.available == before + 1  # what the first interim brought
    assert caplog.text.count("not asked for") == 1


async def test_a_compound_may_be_as_long_as_all_its_requests_allow() -> None:
    """One answer in it no longer than its own request does."""
    body = b"\x21" * 32
    pages = [Request(Command.QUERY_DIRECTORY, body, room=64 << 10) for _ in range(2)]
    async with connected() as line, trio.open_nursery() as nursery:
        for sizes in ((64 << 10, 64 << 10), (100 << 10, 28 << 10)):
            caller = Caller(line, echo(), *pages)
            nursery.start_soon(caller.run)
            first, *asked = await line.peer.requests(3)
            parts = [reply(14, a.message_id, bytes(s)) for a, s in zip(asked, sizes, strict=True)]
            await line.peer.answer(reply(13, first.message_id), *parts)
            await caller.over.wait()
            assert (caller.error is None) == (sizes[0] == 64 << 10)


async def test_a_silent_server_is_gone_after_the_idle_deadline(
    autojump_clock: trio.testing.MockClock,
) -> None:
    async with connected(idle_deadline=20) as line, trio.open_nursery() as nursery:
        await trio.sleep(100)  # silence while nobody asks is no sign of anything
        begun = trio.current_time()
        callers = await waiting(line, nursery)
        await all_end_with(callers, Disconnected)
        assert trio.current_time() - begun == pytest.approx(20)


async def test_a_silent_server_is_found_out_though_nobody_waits_any_more(
    autojump_clock: trio.testing.MockClock,
) -> None:
    """Desktops ask for a moment and give up; the line must not look alive for ever."""
    async with connected(idle_deadline=20) as line:
        with trio.move_on_after(1):
            await line.transport.exchange([echo()])
        with trio.fail_after(60):
            await line.ended.wait()
        assert isinstance(line.transport.error, Disconnected)


async def test_a_server_that_is_at_work_may_take_longer(
    autojump_clock: trio.testing.MockClock,
) -> None:
    """STATUS_PENDING says that the server has the request: then silence is no sign of death."""
    async with connected(idle_deadline=20) as line, trio.open_nursery() as nursery:
        caller = Caller(line, line.read(0, 10))
        nursery.start_soon(caller.run)
        await line.peer.request()
        await line.peer.send(replies.interim(8, 10))
        await trio.sleep(29)
        assert not caller.over.is_set()
        await line.peer.answer(reply(8, 10, read_body(b"at last")))
        await caller.over.wait()
        assert caller.error is None


@pytest.mark.parametrize("ending", ["hang up", "hostile", "half a frame"])
async def test_who_asks_again_at_once_is_told_and_does_not_hang(ending: str) -> None:
    """Whoever is woken by the end of the connection must find it ended: a request that slipped
    in behind would never be answered nor released."""
    async with connected() as line, trio.open_nursery() as nursery:
        errors: list[str] = []

        async def persistent() -> None:
            for _ in range(2):
                try:
                    await line.transport.exchange([echo()])
                except NetfsError as error:
                    errors.append(type(error).__name__)
                    assert line.transport.error is not None

        for _ in range(20):
            nursery.start_soon(persistent)
            await line.peer.request()
        if ending == "hostile":
            await line.peer.send_raw(HOSTILE["no smb"]())
        else:
            if ending == "half a frame":
                await line.peer.send_raw(b"\0\0\1")
            line.peer.sock.shutdown(socket.SHUT_WR)
        with trio.fail_after(10):
            await line.ended.wait()
            while len(errors) < 40:
                await trio.testing.wait_all_tasks_blocked()
        assert len(set(errors)) == 1


async def test_a_mistake_of_ours_costs_the_connection_and_not_the_mount(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """The receive task lives in the service nursery: what it raises would end everything."""

    def mistake(_message: memoryview) -> list[memoryview]:
        raise ZeroDivisionError("a mistake")

    monkeypatch.setattr(receive, "split_compound", mistake)
    async with connected() as line, trio.open_nursery() as nursery:
        callers = await waiting(line, nursery)
        await line.peer.answer(reply(13, 11))
        await all_end_with(callers, ProtocolError)
    assert "ZeroDivisionError" in caplog.text


async def test_failed_before_the_next_reply_is_looked_at() -> None:
    """Somebody else may end the connection while the receive task is about to go on reading."""
    async with connected() as line, trio.open_nursery() as nursery:
        callers = [Caller(line, echo()) for _ in range(2)]
        for caller in callers:
            nursery.start_soon(caller.run)
            await line.peer.request()
        line.transport._gate.serve = lambda: line.transport.fail(  # type: ignore[method-assign]
            Disconnected("by somebody else")
        )
        await line.peer.answer(reply(13, 10))
        with trio.fail_after(10):
            await line.ended.wait()
        await all_end_with(callers[1:], Disconnected)


async def test_cancelled_service_ends_everybody() -> None:
    async with connected() as line, trio.open_nursery() as nursery:
        callers = await waiting(line, nursery)
        line.scope.cancel()
        await all_end_with(callers, Disconnected)


async def test_an_answer_to_another_command_ends_the_connection() -> None:
    async with connected() as line, trio.open_nursery() as nursery:
        callers = await waiting(line, nursery)
        await line.peer.answer(reply(Command.CLOSE, 11))  # an ECHO was asked
        await all_end_with(callers, ProtocolError)
