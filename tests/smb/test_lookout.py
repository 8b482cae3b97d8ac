"""A request that the server does not answer: cancelled if it was PENDING, and never held for ever.

The checks of ``connected`` hold the rest: in the end no credit and no buffer is missing.
"""

from __future__ import annotations

import math
import struct
from collections.abc import Iterator

import pytest
import trio
import trio.testing

from netfsfuse.errors import DeadlineExceeded, Disconnected
from netfsfuse.smb.connection.apart import undo_create
from netfsfuse.smb.connection.exchange import Request
from netfsfuse.smb.connection.liveness import Patience, Pulse
from netfsfuse.smb.connection.lookout import PENDING
from netfsfuse.smb.wire.header import FLAG_ASYNC, Command
from netfsfuse.types import FileAttr
from tests.smb import replies
from tests.smb.caller import Caller
from tests.smb.peer import Asked, Line, connected, echo
from tests.smb.replies import read_body, reply

CANCELLED = 0xC0000120
ASYNC_ID = 5 << 32  # what ``replies.interim`` says
IDLE = 20.0


def check_cancel(cancel: Asked, message_id: int) -> None:
    assert cancel.command == Command.CANCEL
    assert cancel.message_id == message_id
    assert struct.unpack_from("<Q", cancel.raw, 32)[0] == ASYNC_ID
    assert cancel.flags & FLAG_ASYNC
    assert (cancel.charge, cancel.credit_request) == (0, 0)
    assert cancel.body == b"\x04\0\0\0"


def cancelled(command: int, message_id: int) -> bytes:
    body = replies.error_body()
    return reply(command, message_id, body, status=CANCELLED, credits=0, flags=3)


async def pending_read(line: Line, nursery: trio.Nursery) -> tuple[Caller, int]:
    caller = Caller(line, line.read(0, 10))
    nursery.start_soon(caller.run)
    asked = await line.peer.request()
    await line.peer.send(replies.interim(8, asked.message_id))
    await trio.testing.wait_all_tasks_blocked()
    return caller, asked.message_id


async def test_what_is_pending_is_cancelled_with_its_caller(
    autojump_clock: trio.testing.MockClock,
) -> None:
    async with connected() as line, trio.open_nursery() as nursery:
        caller, message_id = await pending_read(line, nursery)
        caller.scope.cancel()
        check_cancel(await line.peer.request(), message_id)
        assert line.freed == []
        await line.peer.answer(cancelled(8, message_id))
        await line.transport_idle()
        assert len(line.freed) == 1
        nursery.start_soon(Caller(line, echo()).run)
        asked = await line.peer.request()
        assert asked.message_id == message_id + 1  # the CANCEL took none
        await line.peer.answer(reply(13, asked.message_id))


async def test_a_caller_that_was_gone_before_the_interim_reply(
    autojump_clock: trio.testing.MockClock,
) -> None:
    async with connected() as line, trio.open_nursery() as nursery:
        caller = Caller(line, line.read(0, 10))
        nursery.start_soon(caller.run)
        asked = await line.peer.request()
        caller.scope.cancel()
        await caller.over.wait()
        for _ in range(2):
            await line.peer.send(replies.interim(8, asked.message_id))
        check_cancel(await line.peer.request(), asked.message_id)
        await line.peer.answer(reply(8, asked.message_id, read_body(b"after all"), flags=3))
        await line.transport_idle()
        assert line.stats.messages["cancel"] == 1


async def test_what_a_cancelled_compound_has_opened_is_closed(
    autojump_clock: trio.testing.MockClock,
) -> None:
    """Its first answer is here, its second is PENDING."""
    async with connected() as line, trio.open_nursery() as nursery:
        create = Request(Command.CREATE, b"", undo=undo_create)
        caller = Caller(line, create, Request(Command.READ, bytes(48)))
        nursery.start_soon(caller.run)
        opened, asked = await line.peer.requests(2)
        body = replies.create_body(FileAttr(1, 200, 300, 400, 500, 6, 0, 0), bytes(range(16)))
        await line.peer.answer(
            reply(Command.CREATE, opened.message_id, body), replies.interim(8, asked.message_id)
        )
        await trio.testing.wait_all_tasks_blocked()
        caller.scope.cancel()
        closing, cancel = await line.peer.requests(2)
        assert closing.command == Command.CLOSE
        assert bytes(range(16)) in closing.body
        check_cancel(cancel, asked.message_id)


async def test_pending_for_too_long_the_caller_is_told_and_the_request_cancelled(
    autojump_clock: trio.testing.MockClock,
) -> None:
    async with connected(idle_deadline=IDLE) as line, trio.open_nursery() as nursery:
        caller, message_id = await pending_read(line, nursery)
        begun = trio.current_time()
        await caller.over.wait()
        assert trio.current_time() - begun == pytest.approx(PENDING, abs=0.1)
        assert isinstance(caller.error, DeadlineExceeded)
        check_cancel(await line.peer.request(), message_id)
        await line.peer.answer(cancelled(8, message_id))
        await line.transport_idle()
        assert len(line.freed) == 1
        await trio.sleep(10 * IDLE)
        assert line.transport.error is None


async def test_a_server_that_ignores_a_cancel_loses_the_connection(
    autojump_clock: trio.testing.MockClock,
) -> None:
    """However alive it is otherwise: nothing else gives the buffer back."""
    async with connected(idle_deadline=IDLE) as line, trio.open_nursery() as nursery:
        caller, message_id = await pending_read(line, nursery)
        begun = trio.current_time()
        caller.scope.cancel()
        check_cancel(await line.peer.request(), message_id)
        for _ in exchanging(line, nursery):
            await answer_echo(line)
        assert trio.current_time() - begun == pytest.approx(IDLE, abs=5)
        assert isinstance(line.transport.error, Disconnected)
        assert len(line.freed) == 1


async def test_a_request_that_is_passed_over_ends_the_connection(
    autojump_clock: trio.testing.MockClock,
) -> None:
    """Its answer is lost: ECHOs are answered that were sent long after it."""
    patience = Patience(IDLE, echo_interval=math.inf, overdue=math.inf)
    async with connected(patience=patience) as line, trio.open_nursery() as nursery:
        caller = Caller(line, line.read(0, 10))
        nursery.start_soon(caller.run)
        await line.peer.request()
        begun = trio.current_time()
        caller.scope.cancel()
        for _ in exchanging(line, nursery):
            await answer_echo(line)
        assert trio.current_time() - begun == pytest.approx(10, abs=2)
        assert len(line.freed) == 1


def exchanging(line: Line, nursery: trio.Nursery) -> Iterator[None]:
    """One ECHO a turn, until the connection ends."""
    for _ in range(1000):
        if line.ended.is_set():
            return
        nursery.start_soon(Caller(line, echo()).run)
        yield
    raise AssertionError("it never ends")


async def answer_echo(line: Line) -> None:
    try:
        asked = await line.peer.request()
        await line.peer.answer(reply(13, asked.message_id))
    except (EOFError, OSError):
        await line.ended.wait()
    await trio.sleep(1)


async def test_a_standing_request_is_no_reason_to_look_again(
    autojump_clock: trio.testing.MockClock,
) -> None:
    """A mount of which nobody asks anything sleeps."""
    async with connected(idle_deadline=IDLE) as line:
        standing = line.transport.send_standing(
            [Request(Command.CHANGE_NOTIFY, bytes(32), standing=True)]
        )
        assert standing is not None
        asked = await line.peer.request()
        await line.peer.send(replies.interim(15, asked.message_id))
        await trio.sleep(100 * IDLE)
        assert line.transport.error is None
        assert not standing[0].done


async def test_what_waits_behind_a_pending_request_is_not_overdue(
    autojump_clock: trio.testing.MockClock,
) -> None:
    """Another client holds the file: its compound is given up, and not the connection."""
    async with connected(idle_deadline=IDLE) as line, trio.open_nursery() as nursery:
        caller = Caller(line, Request(Command.CREATE, b""), Request(Command.CLOSE, b""))
        nursery.start_soon(caller.run)
        opening, closing = await line.peer.requests(2)
        await line.peer.send(replies.interim(Command.CREATE, opening.message_id))
        begun = trio.current_time()
        await caller.over.wait()
        assert trio.current_time() - begun == pytest.approx(PENDING, abs=0.1)
        assert isinstance(caller.error, DeadlineExceeded)
        check_cancel(await line.peer.request(), opening.message_id)
        await line.peer.answer(
            cancelled(Command.CREATE, opening.message_id),
            reply(Command.CLOSE, closing.message_id, replies.error_body(), status=CANCELLED),
        )
        await line.transport_idle()
        await trio.sleep(10 * IDLE)
        assert line.transport.error is None


# -- ECHOs, and what becomes of the answers --------------------------------------------------------


async def test_silence_is_asked_about_and_told(autojump_clock: trio.testing.MockClock) -> None:
    told: list[tuple[float, Pulse]] = []
    async with connected(patience=Patience()) as line, trio.open_nursery() as nursery:
        begun = trio.current_time()
        lookout = line.transport.lookout
        lookout.tell = lambda: told.append((trio.current_time() - begun, lookout.pulse))
        caller = Caller(line, line.read(0, 10))
        nursery.start_soon(caller.run)
        asked = await line.peer.request()
        question = await line.peer.request()
        assert question.command == Command.ECHO
        assert trio.current_time() - begun == pytest.approx(1, abs=0.01)
        await trio.sleep(4)
        await line.peer.answer(reply(13, question.message_id))
        await trio.sleep(0.5)
        assert lookout.pulse is Pulse.LIVE
        await line.peer.answer(reply(8, asked.message_id, read_body(b"at last")))
        await caller.over.wait()
        assert caller.error is None
    assert [pulse for _, pulse in told] == [Pulse.DOUBTFUL, Pulse.SUSPECT, Pulse.LIVE]
    assert [at for at, _ in told] == pytest.approx([2, 3, 5.1], abs=0.2)


async def test_an_idle_connection_is_tried_each_interval_and_given_up_when_it_is_dead(
    autojump_clock: trio.testing.MockClock,
) -> None:
    async with connected(patience=Patience(echo_interval=5)) as line:
        begun = trio.current_time()
        for count in range(1, 4):
            asked = await line.peer.request()
            assert asked.command == Command.ECHO
            assert trio.current_time() - begun == pytest.approx(5 * count, abs=0.1)
            await line.peer.answer(reply(13, asked.message_id))
        await line.ended.wait()
        assert trio.current_time() - begun == pytest.approx(15 + 5 + 30, abs=0.1)


async def test_a_connection_that_is_probed_says_so_at_once(
    autojump_clock: trio.testing.MockClock,
) -> None:
    async with connected(patience=Patience()) as line:
        await trio.sleep(4)
        line.transport.lookout.probe()
        line.transport.lookout.probe()
        await line.peer.request()
        await trio.sleep(1.1)
        assert line.transport.lookout.pulse is Pulse.DOUBTFUL
        await trio.sleep(1)
        assert line.transport.lookout.pulse is Pulse.SUSPECT
