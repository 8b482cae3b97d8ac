"""Bytes from a socket: none lost or moved however they arrive, and others get their turn."""

from __future__ import annotations

import random
import socket
from collections.abc import Iterator

import pytest
import trio
import trio.testing

from netfsfuse.errors import Disconnected, ProtocolError
from netfsfuse.smb.connection.intake import Intake

AHEAD = 68


@pytest.fixture
def pair() -> Iterator[tuple[socket.socket, socket.socket]]:
    ours, theirs = socket.socketpair()
    ours.setblocking(False)
    theirs.setblocking(False)
    with ours, theirs:
        yield ours, theirs


@pytest.mark.parametrize("seed", range(10))
async def test_messages_arrive_whole_in_pieces_of_any_size(
    pair: tuple[socket.socket, socket.socket], seed: int
) -> None:
    chance = random.Random(seed)
    sizes = [chance.choice([0, 5, 70, 4096, 300_000, 3 << 20]) for _ in range(12)]
    messages = [chance.randbytes(AHEAD + size) for size in sizes]
    intake = Intake(pair[0], AHEAD, lambda _: None)
    got: list[bytes] = []

    async def send() -> None:
        sock = trio.socket.from_stdlib_socket(pair[1])
        whole = memoryview(b"".join(messages))
        while whole:
            whole = whole[await sock.send(whole[: chance.choice([1, 60, 68, 5000, 1 << 20])]) :]

    async def receive() -> None:
        for size in sizes:
            prefix = await intake.prefix()
            rest = bytearray(size)
            await intake.fill(memoryview(rest))
            got.append(prefix + rest)

    async with trio.open_nursery() as nursery:
        nursery.start_soon(send)
        nursery.start_soon(receive)
    assert got == messages


async def test_the_beginning_of_the_next_message_costs_no_system_call(
    pair: tuple[socket.socket, socket.socket],
) -> None:
    calls: list[int] = []

    class Counting:
        def recvmsg_into(self, targets: list[memoryview]) -> tuple[int]:
            calls.append(len(targets))
            return (pair[0].recvmsg_into(targets)[0],)

    intake = Intake(Counting(), AHEAD, lambda _: None)  # type: ignore[arg-type]
    pair[1].send((b"p" * AHEAD + b"x" * 1000) * 5)
    for _ in range(5):
        assert await intake.prefix() == b"p" * AHEAD
        rest = bytearray(1000)
        await intake.fill(memoryview(rest))
        assert rest == b"x" * 1000
    assert len(calls) == 6


async def test_others_get_their_turn_while_everything_is_there(
    pair: tuple[socket.socket, socket.socket],
) -> None:
    """Neither small messages without end nor large ones keep the loop to themselves."""
    pair[1].setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 1 << 20)
    while True:
        try:
            pair[1].send(b"p" * AHEAD * 64)
        except BlockingIOError:
            break
    intake, turns = Intake(pair[0], AHEAD, lambda _: None), 0

    async def other() -> None:
        nonlocal turns
        while True:
            turns += 1
            await trio.lowlevel.checkpoint()

    async with trio.open_nursery() as nursery:
        nursery.start_soon(other)
        await trio.lowlevel.checkpoint()
        before, messages = turns, 512
        for _ in range(messages):
            await intake.prefix()
            await intake.fill(memoryview(bytearray(0)))
        assert messages / 64 <= turns - before < messages / 2
        nursery.cancel_scope.cancel()


async def test_the_end_of_the_connection(pair: tuple[socket.socket, socket.socket]) -> None:
    pair[1].send(b"half")
    pair[1].close()
    with pytest.raises(Disconnected):
        await Intake(pair[0], AHEAD, lambda _: None).prefix()


async def test_a_beginning_that_cannot_be_is_not_waited_on(
    pair: tuple[socket.socket, socket.socket],
) -> None:
    """A message shorter than the prefix would otherwise be waited for until the deadline."""

    def check(prefix: memoryview) -> None:
        raise ProtocolError(bytes(prefix[:5]).decode())

    pair[1].send(b"wrong message")
    with pytest.raises(ProtocolError, match="wrong"):
        await Intake(pair[0], AHEAD, check).prefix()


async def test_stirred_it_wakes_for_a_single_byte() -> None:
    """TCP: while much is missing the kernel wakes no reader for little, but if it is told to."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        theirs = socket.create_connection(listener.getsockname())
        ours, _ = listener.accept()
    with ours, theirs:
        ours.setblocking(False)
        intake = Intake(ours, AHEAD, lambda _: None)
        theirs.sendall(b"p" * AHEAD)
        await intake.prefix()
        target = memoryview(bytearray(1 << 20))
        async with trio.open_nursery() as nursery:
            nursery.start_soon(intake.fill, target)
            await trio.testing.wait_all_tasks_blocked()
            begun = intake.received_at
            theirs.sendall(b"x")
            await trio.testing.wait_all_tasks_blocked()
            assert intake.received_at == begun
            intake.wake_on_any_byte()
            with trio.fail_after(10):
                while intake.received_at == begun:
                    await trio.testing.wait_all_tasks_blocked()
            assert target[0] == ord("x")
            nursery.cancel_scope.cancel()
