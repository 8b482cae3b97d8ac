"""Replies proved in the reader's own buffer, on the loop or in a thread: ``connection/proving``."""

from __future__ import annotations

import os
import threading
from collections.abc import Callable

import pytest
import trio
import trio.testing

from netfsfuse.errors import ProtocolError
from netfsfuse.netfs.memory.buffer import Buffer
from netfsfuse.smb.connection import proving
from netfsfuse.smb.connection.crypto import CipherId, Sealer, Signer, SigningAlgorithm
from netfsfuse.smb.connection.exchange import Sink
from tests.smb.caller import Caller, all_end_with
from tests.smb.peer import KEYS, Line, connected, echo, read_into
from tests.smb.replies import read_body, reply

SIZE = 1 << 20
WAYS = [*CipherId, *SigningAlgorithm]


@pytest.fixture(params=[False, True], ids=["inline", "in threads"])
def in_threads(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> bool:
    if request.param:
        monkeypatch.setattr(proving, "FOR_A_THREAD", {False: 0, True: 0})
    return bool(request.param)


@pytest.fixture
def no_copies(monkeypatch: pytest.MonkeyPatch) -> None:
    def fill(*_: object) -> int:
        raise AssertionError("a payload was copied")

    monkeypatch.setattr(Sink, "fill", fill)


def protected(way: CipherId | SigningAlgorithm) -> dict[str, object]:
    if isinstance(way, CipherId):
        return {"cipher": way}
    return {"signer": Signer(way, KEYS[0])}


@pytest.mark.parametrize("way", WAYS)
async def test_large_replies_land_in_place_in_any_order(
    way: CipherId | SigningAlgorithm, in_threads: bool, no_copies: None
) -> None:
    payloads = [os.urandom(SIZE - index) for index in range(6)]
    async with (
        connected(credits=200, **protected(way)) as line,  # type: ignore[arg-type]
        trio.open_nursery() as nursery,
    ):
        callers = [Caller(line, line.read(i, SIZE, charge=16)) for i in range(6)]
        asked = []
        for caller in callers:
            nursery.start_soon(caller.run)
            asked.append(await line.peer.request())
        for index in (5, 0, 3, 1, 4, 2):
            body = read_body(payloads[index])
            await line.peer.answer(reply(8, asked[index].message_id, body, credits=16))
        for caller, payload, buffer in zip(callers, payloads, line.buffers, strict=True):
            await caller.over.wait()
            assert caller.replies[0].transferred == len(payload)
            assert bytes(buffer.payload[: len(payload)]) == payload


@pytest.mark.parametrize("way", WAYS)
async def test_what_lies_around_the_target_is_as_it_was(
    way: CipherId | SigningAlgorithm, in_threads: bool
) -> None:
    async with (
        connected(**protected(way)) as line,  # type: ignore[arg-type]
        trio.open_nursery() as nursery,
    ):
        for length in (500, 300, 0):  # as long as asked, short, nothing
            buffer = Buffer(65536, line.freed.append)
            line.buffers.append(buffer)
            buffer.memory[:] = b"o" * len(buffer.memory)
            caller = Caller(line, read_into(buffer, 0, 500, at=1000))
            nursery.start_soon(caller.run)
            asked = await line.peer.request()
            await line.peer.answer(reply(8, asked.message_id, read_body(b"n" * length)))
            await caller.over.wait()
            expected = (b"o" * 1000 + b"n" * length).ljust(1500, b"o")
            if length == 500:
                assert bytes(buffer.payload[:1500]) == expected
            assert bytes(buffer.payload[:1000]) == expected[:1000]
            assert bytes(buffer.payload[1000 : 1000 + length]) == b"n" * length
            assert set(buffer.memory[: 4096 + 1000]) == {ord("o")}
            assert set(buffer.payload[1500:]) == {ord("o")}


async def two_reads_into_one_buffer(line: Line, nursery: trio.Nursery) -> list[Caller]:
    """MessageIds 10 and 11, the second just above the first."""
    buffer = Buffer(65536, line.freed.append)
    line.buffers.append(buffer)
    callers = [Caller(line, read_into(buffer, 0, 1000, at=at)) for at in (0, 1000)]
    for caller in callers:
        nursery.start_soon(caller.run)
        await line.peer.request()
    return callers


@pytest.mark.parametrize("way", WAYS)
async def test_neighbours_in_one_buffer_keep_apart(
    way: CipherId | SigningAlgorithm, in_threads: bool
) -> None:
    async with (
        connected(**protected(way)) as line,  # type: ignore[arg-type]
        trio.open_nursery() as nursery,
    ):
        callers = await two_reads_into_one_buffer(line, nursery)
        await line.peer.answer(reply(8, 11, read_body(b"b" * 1000)))
        await line.peer.answer(reply(8, 10, read_body(b"a" * 1000)))
        for caller in callers:
            await caller.over.wait()
        assert bytes(line.buffers[0].payload[:2000]) == b"a" * 1000 + b"b" * 1000
    line.freed[:] = line.buffers


class Held:
    """Proofs that wait, in their thread, until they are let go."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(proving, "FOR_A_THREAD", {False: 900, True: 900})
        self.begun = 0
        self.may_go = threading.Event()
        inner: Callable[..., None] = Sealer.unseal_in_place

        def unseal(sealer: Sealer, header: memoryview, sealed: memoryview) -> None:
            self.begun += 1
            if len(sealed) > 900:
                assert self.may_go.wait(60)
            inner(sealer, header, sealed)

        monkeypatch.setattr(Sealer, "unseal_in_place", unseal)


@pytest.fixture
def held(monkeypatch: pytest.MonkeyPatch) -> Held:
    return Held(monkeypatch)


async def test_receiving_goes_on_while_replies_are_in_threads_but_not_without_bound(
    held: Held,
) -> None:
    count = proving.IN_THREADS + 2
    async with (
        connected(cipher=CipherId.AES_128_GCM) as line,
        trio.open_nursery() as nursery,
    ):
        callers = [Caller(line, line.read(i, 1000)) for i in range(count)] + [Caller(line, echo())]
        for caller in callers:
            nursery.start_soon(caller.run)
            await line.peer.request()
        await line.peer.answer(reply(8, 10, read_body(bytes(1000))))
        await line.peer.answer(reply(13, 10 + count))
        with trio.fail_after(60):
            await callers[-1].over.wait()  # small, and proved while the first was in its thread
        assert not callers[0].over.is_set()
        for index in range(1, count):
            await line.peer.answer(reply(8, 10 + index, read_body(bytes(1000))))
        await trio.testing.wait_all_tasks_blocked()
        assert held.begun <= proving.IN_THREADS
        held.may_go.set()
        for caller in callers:
            await caller.over.wait()
            assert caller.error is None


async def test_nothing_lands_in_a_buffer_that_is_being_decrypted(held: Held) -> None:
    """A forged frame that claims the same request must not change what is being looked at."""
    async with (
        connected(cipher=CipherId.AES_128_GCM) as line,
        trio.open_nursery() as nursery,
    ):
        caller = Caller(line, line.read(0, 1000))
        nursery.start_soon(caller.run)
        await line.peer.request()
        assert line.peer.sealer is not None
        genuine = line.peer.sealer.seal(reply(8, 10, read_body(b"g" * 1000)))
        forged = bytearray(line.peer.sealer.seal(reply(8, 10, read_body(b"f" * 1000))))
        forged[-1] ^= 1
        await line.peer.send(genuine)
        await line.peer.send(bytes(forged))
        await trio.testing.wait_all_tasks_blocked()
        held.may_go.set()
        await caller.over.wait()
        assert caller.error is None
        assert bytes(line.buffers[0].payload[:1000]) == b"g" * 1000
        await line.ended.wait()
        assert isinstance(line.transport.error, ProtocolError)


async def test_what_was_seen_at_first_must_be_what_was_decrypted(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """It never differs, or the peek is wrong; either way nobody is given another's bytes."""
    seen = reply(8, 11, read_body(bytes(1000)))[:64]
    monkeypatch.setattr(Sealer, "peek", lambda *_: seen)
    async with (
        connected(cipher=CipherId.AES_128_GCM) as line,
        trio.open_nursery() as nursery,
    ):
        callers = [Caller(line, line.read(index, 1000)) for index in range(2)]
        for caller in callers:
            nursery.start_soon(caller.run)
            await line.peer.request()
        await line.peer.answer(reply(8, 10, read_body(b"x" * 1000)))
        await all_end_with(callers, ProtocolError)
        assert not any(line.buffers[1].payload)


async def test_tampering_is_seen_in_a_thread_and_nothing_of_it_stays(held: Held) -> None:
    held.may_go.set()
    async with (
        connected(cipher=CipherId.AES_128_GCM) as line,
        trio.open_nursery() as nursery,
    ):
        callers = await two_reads_into_one_buffer(line, nursery)
        line.buffers[0].payload[:] = b"o" * 65536
        assert line.peer.sealer is not None
        sealed = bytearray(line.peer.sealer.seal(reply(8, 11, read_body(bytes(1000)))))
        sealed[-1] ^= 1
        await line.peer.send(bytes(sealed))
        await all_end_with(callers, ProtocolError)
        payload = line.buffers[0].payload
        assert set(payload[:1000]) | set(payload[2000:]) == {ord("o")}
        assert not any(payload[1000:2000])
    line.freed[:] = line.buffers


async def test_waiters_are_told_of_the_end_only_when_no_thread_uses_their_buffers(
    held: Held,
) -> None:
    """They would read into them again, on another connection."""
    async with (
        connected(cipher=CipherId.AES_128_GCM) as line,
        trio.open_nursery() as nursery,
    ):
        caller = Caller(line, line.read(0, 1000))
        nursery.start_soon(caller.run)
        await line.peer.request()
        await line.peer.answer(reply(8, 10, read_body(bytes(1000))))
        while not held.begun:
            await trio.testing.wait_all_tasks_blocked()
        line.peer.close()
        await trio.testing.wait_all_tasks_blocked()
        assert not caller.over.is_set()
        held.may_go.set()
        await caller.over.wait()
