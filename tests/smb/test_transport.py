"""Requests and replies on one connection: any order, interim replies, credits, compounds, sinks."""

from __future__ import annotations

import pytest
import trio
import trio.testing

from netfsfuse.netfs.demand import Demand
from netfsfuse.smb.connection.apart import undo_create
from netfsfuse.smb.connection.exchange import Request
from netfsfuse.smb.wire.header import FLAG_RELATED, UNSOLICITED, Command
from netfsfuse.types import FileAttr
from tests.smb import replies
from tests.smb.caller import Caller
from tests.smb.peer import connected, echo, read_into
from tests.smb.replies import read_body, reply


async def test_replies_in_any_order_find_their_callers() -> None:
    async with connected() as line, trio.open_nursery() as nursery:
        callers = [Caller(line, line.read(n, 4)) for n in range(5)]
        asked = []
        for caller in callers:
            nursery.start_soon(caller.run)
            asked.append(await line.peer.request())
        assert [one.message_id for one in asked] == [10, 11, 12, 13, 14]
        assert line.stats.in_flight == line.stats.in_flight_peak == 5
        for index in (3, 0, 4, 2, 1):
            payload = f"no {index}".encode()
            await line.peer.answer(reply(8, asked[index].message_id, read_body(payload)))
        for index, caller in enumerate(callers):
            await caller.over.wait()
            sink = caller.requests[0].sink
            assert sink is not None
            assert bytes(sink.buffer.payload[:4]) == f"no {index}".encode()
            assert caller.replies[0].transferred == 4
        assert line.stats.bytes == 20
        assert line.stats.messages == {"read": 5}


async def test_interim_reply_brings_credits_and_the_final_one_the_answer() -> None:
    async with connected(credits=1) as line, trio.open_nursery() as nursery:
        first, second = Caller(line, line.read(0, 5)), Caller(line, echo())
        nursery.start_soon(first.run)
        asked = await line.peer.request()
        nursery.start_soon(second.run)
        await trio.testing.wait_all_tasks_blocked()
        await line.peer.send(replies.interim(8, asked.message_id, credits=1))
        other = await line.peer.request()  # the interim's credit lets it go
        assert other.message_id == asked.message_id + 1
        assert not first.over.is_set()
        final = reply(8, asked.message_id, read_body(b"final"), credits=0, flags=3)
        await line.peer.answer(final)
        await first.over.wait()
        assert first.replies[0].transferred == 5
        assert line.spent == 1
        await line.peer.answer(reply(13, other.message_id))


async def test_a_request_is_as_large_as_its_charge_in_ids_and_credits() -> None:
    async with connected(credits=40) as line, trio.open_nursery() as nursery:
        callers = [Caller(line, line.read(0, 1 << 20, charge=16)), Caller(line, echo())]
        asked = []
        for caller in callers:
            nursery.start_soon(caller.run)
            asked.append(await line.peer.request())
        assert [(one.message_id, one.charge) for one in asked] == [(10, 16), (26, 1)]
        assert (line.available, line.spent) == (23, 17)
        assert asked[0].credit_request >= 16
        await line.peer.answer(reply(13, 26))
        await line.peer.answer(reply(8, 10, read_body(bytes(1 << 20)), credits=16))
        await callers[0].over.wait()
        assert (line.available, line.spent) == (40, 0)


async def test_without_credits_requests_wait_urgent_ones_first_and_in_order() -> None:
    async with connected(credits=1) as line, trio.open_nursery() as nursery:
        nursery.start_soon(Caller(line, echo()).run)
        asked = await line.peer.request()
        bodies = [b"\x04\0p1", b"\x04\0u1", b"\x04\0p2", b"\x04\0u2"]
        for body in bodies:
            demand = Demand(urgent=body[2:3] == b"u")
            waiter = Caller(line, Request(Command.ECHO, body), demand=demand)
            nursery.start_soon(waiter.run)
            await trio.testing.wait_all_tasks_blocked()
        seen = []
        for _ in bodies:
            await line.peer.answer(reply(13, asked.message_id))
            asked = await line.peer.request()
            seen.append(asked.body[2:])
        await line.peer.answer(reply(13, asked.message_id))
        assert seen == [b"u1", b"u2", b"p1", b"p2"]
        assert asked.message_id == 14


async def test_a_demand_knows_when_it_is_sent_and_can_be_raised_while_it_queues() -> None:
    async with connected(credits=1) as line, trio.open_nursery() as nursery:
        nursery.start_soon(Caller(line, echo()).run)
        asked = await line.peer.request()
        demands = [Demand(urgent=False), Demand(urgent=False)]
        for number, demand in enumerate(demands):
            nursery.start_soon(Caller(line, line.read(number, 10), demand=demand).run)
            await trio.testing.wait_all_tasks_blocked()
        demands[1].raise_()
        for sent in ([False, True], [True, True]):
            assert not all(demand.sent for demand in demands)
            body = read_body(b"x") if asked.command == Command.READ else b"\x04\0\0\0"
            await line.peer.answer(reply(asked.command, asked.message_id, body))
            asked = await line.peer.request()
            assert [demand.sent for demand in demands] == sent
        assert asked.message_id == 12
        await line.peer.answer(reply(8, 12, read_body(b"y")))


async def test_largest_charge_follows_what_the_server_grants() -> None:
    async with connected(credits=20) as line:
        assert line.transport.largest_charge == 16
        async with trio.open_nursery() as nursery:
            nursery.start_soon(Caller(line, echo()).run)
            asked = await line.peer.request()
            assert line.transport.largest_charge == 16  # under way is ours still
            await line.peer.answer(reply(13, asked.message_id, credits=0))
        assert line.transport.largest_charge == 15


async def test_a_cancelled_waiter_for_credits_is_gone_without_a_trace() -> None:
    async with connected(credits=1) as line, trio.open_nursery() as nursery:
        nursery.start_soon(Caller(line, echo()).run)
        asked = await line.peer.request()
        waiter = Caller(line, line.read(0, 10))
        nursery.start_soon(waiter.run)
        await trio.testing.wait_all_tasks_blocked()
        waiter.scope.cancel()
        await waiter.over.wait()
        line.freed += line.buffers  # never held
        await line.peer.answer(reply(13, asked.message_id))
        await line.transport_idle()


async def test_a_cancelled_read_keeps_its_buffer_until_the_reply() -> None:
    async with connected(credits=8) as line, trio.open_nursery() as nursery:
        caller = Caller(line, line.read(0, 10))
        nursery.start_soon(caller.run)
        asked = await line.peer.request()
        caller.scope.cancel()
        await caller.over.wait()
        (buffer,) = line.buffers
        assert buffer.references == 1
        assert line.spent == 1
        await line.peer.answer(reply(8, asked.message_id, read_body(b"too late!!"), credits=3))
        await line.transport_idle()
        assert line.freed == [buffer]
        assert (line.available, line.spent) == (10, 0)


async def test_a_create_that_was_cancelled_is_closed_when_it_is_answered() -> None:
    """Or the server would keep the file open for as long as the mount lives."""
    async with connected() as line, trio.open_nursery() as nursery:
        caller = Caller(line, Request(Command.CREATE, b"", undo=undo_create))
        nursery.start_soon(caller.run)
        asked = await line.peer.request()
        caller.scope.cancel()
        await caller.over.wait()
        body = replies.create_body(FileAttr(1, 200, 300, 400, 500, 6, 0, 0), bytes(range(16)))
        await line.peer.answer(reply(Command.CREATE, asked.message_id, body))
        undoing = await line.peer.request()
        assert undoing.command == Command.CLOSE
        assert bytes(range(16)) in undoing.body
        await line.peer.answer(reply(Command.CLOSE, undoing.message_id))


async def test_a_create_answered_in_the_moment_of_its_cancellation_is_closed_too() -> None:
    async with connected() as line, trio.open_nursery() as nursery:
        caller = Caller(line, Request(Command.CREATE, b"", undo=undo_create))
        nursery.start_soon(caller.run)
        asked = await line.peer.request()
        caller.scope.cancel()
        body = replies.create_body(FileAttr(1, 200, 300, 400, 500, 6, 0, 0), b"\x22" * 16)
        answer = reply(Command.CREATE, asked.message_id, body, credits=3)
        await line.transport._receiver._accept(memoryview(answer))  # before it runs again
        await caller.over.wait()
        assert caller.scope.cancelled_caught
        closing = await line.peer.request()
        assert closing.command == Command.CLOSE
        assert closing.body[8:24] == b"\x22" * 16
        await line.peer.answer(reply(6, closing.message_id, bytes(60)))
        await line.transport_idle()


async def test_an_unsolicited_break_changes_nothing() -> None:
    async with connected() as line, trio.open_nursery() as nursery:
        caller = Caller(line, echo())
        nursery.start_soon(caller.run)
        asked = await line.peer.request()
        await line.peer.send(reply(Command.OPLOCK_BREAK, UNSOLICITED, bytes(44), credits=0))
        await line.peer.send(reply(13, 4242))  # nor does a reply that nobody asked for
        await line.peer.answer(reply(13, asked.message_id))
        await caller.over.wait()
        assert caller.error is None


@pytest.mark.parametrize("joined", [True, False])
async def test_compound_replies_joined_or_one_by_one(joined: bool) -> None:
    async with connected() as line, trio.open_nursery() as nursery:
        caller = Caller(line, echo(), line.read(0, 3), echo())
        nursery.start_soon(caller.run)
        asked = await line.peer.requests(3)
        assert [one.flags & FLAG_RELATED for one in asked] == [0, FLAG_RELATED, FLAG_RELATED]
        parts = [
            reply(13, asked[0].message_id, b"\x04\0\0\1"),
            reply(8, asked[1].message_id, read_body(b"abc")),
            reply(13, asked[2].message_id, replies.error_body(), status=0xC0000022),
        ]
        if joined:
            await line.peer.answer(*parts)
        else:
            for part in reversed(parts):
                await line.peer.answer(part)
        await caller.over.wait()
        assert [one.header.message_id for one in caller.replies] == [10, 11, 12]
        assert bytes(caller.replies[0].message[64:68]) == b"\x04\0\0\1"
        assert caller.replies[1].transferred == 3
        assert bytes(line.buffers[0].payload[:3]) == b"abc"
        assert caller.replies[2].status == 0xC0000022


@pytest.mark.parametrize("at", [0, 1, 79, 80, 4096, 65000])
async def test_a_read_in_the_middle_of_a_buffer_touches_only_its_own_bytes(at: int) -> None:
    """The header lands on bytes that are another part of the payload; they are put back."""
    async with connected() as line, trio.open_nursery() as nursery:
        request = line.read(0, 500, at=at)
        buffer = line.buffers[0]
        before = bytes(range(251)) * 300
        buffer.payload[:] = before[: buffer.capacity]
        caller = Caller(line, request)
        nursery.start_soon(caller.run)
        asked = await line.peer.request()
        await line.peer.answer(reply(8, asked.message_id, read_body(b"#" * 300)))
        await caller.over.wait()
        assert caller.replies[0].transferred == 300  # a short reply is an answer
        expected = bytearray(before[: buffer.capacity])
        expected[at : at + 300] = b"#" * 300
        assert buffer.payload == expected


async def test_error_reply_to_a_read_leaves_the_buffer_alone() -> None:
    async with connected() as line, trio.open_nursery() as nursery:
        caller = Caller(line, line.read(0, 100))
        line.buffers[0].payload[:] = b"." * line.buffers[0].capacity
        nursery.start_soon(caller.run)
        asked = await line.peer.request()
        body = replies.error_body()
        await line.peer.answer(reply(8, asked.message_id, body, status=0xC0000011))
        await caller.over.wait()
        assert caller.replies[0].status == 0xC0000011
        assert caller.replies[0].transferred == 0
        assert line.buffers[0].payload == b"." * line.buffers[0].capacity


async def test_two_reads_into_one_buffer_do_not_disturb_each_other() -> None:
    async with connected() as line, trio.open_nursery() as nursery:
        low = line.read(0, 40, at=0)
        buffer = line.buffers[0]
        buffer.hold()  # the owner's own reference
        high = read_into(buffer, 40, 40, at=40)
        callers = [Caller(line, low), Caller(line, high)]
        asked = []
        for caller in callers:
            nursery.start_soon(caller.run)
            asked.append(await line.peer.request())
        for index in (0, 1):
            await line.peer.answer(
                reply(8, asked[index].message_id, read_body(b"lh"[index : index + 1] * 40))
            )
        for caller in callers:
            await caller.over.wait()
        assert buffer.payload[:80] == b"l" * 40 + b"h" * 40
        buffer.drop()


async def test_a_full_socket_delays_requests_and_keeps_their_order() -> None:
    """The kernel takes a part of a frame; the rest goes out when the peer reads again."""
    async with connected(credits=400, send_buffer=4096) as line, trio.open_nursery() as nursery:
        body = b"\x04\0\0\0" + bytes(3000)
        for _ in range(100):
            nursery.start_soon(Caller(line, Request(Command.ECHO, body)).run)
        await trio.testing.wait_all_tasks_blocked()
        assert line.transport._outbox
        asked = await line.peer.requests(100)
        assert [one.message_id for one in asked] == list(range(10, 110))
        assert {one.body for one in asked} == {body}
        for one in asked:
            await line.peer.answer(reply(13, one.message_id))
        await trio.testing.wait_all_tasks_blocked()
        assert not line.transport._outbox
