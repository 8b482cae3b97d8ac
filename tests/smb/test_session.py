"""The live connection: made again once when lost, shared by all who wait, honest when it fails."""

from __future__ import annotations

import math

import pytest
import trio
import trio.testing

from netfsfuse.errors import Barred, Disconnected, HostDown, LoginRefused, MountError
from netfsfuse.smb.connection.exchange import Reply
from netfsfuse.smb.connection.handshake_result import Protection
from netfsfuse.smb.session.session import Session
from netfsfuse.smb.wire.header import Command
from netfsfuse.types import Reach
from tests.smb import replies
from tests.smb.peer import Asked, echo
from tests.smb.server import SESSION_DELETED, Server, serving


@pytest.fixture
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    """As in an outage that has lasted for long: no request waits."""
    monkeypatch.setattr("netfsfuse.smb.session.lifecycle.SOFT", 0.0)


async def ask(session: Session) -> Reply:
    (reply,) = await session.exchange(lambda _: [echo()])
    return reply


async def ten_ask(server: Server, session: Session) -> list[Reply | Disconnected]:
    """What ten who ask at once are told. The server's gate stays shut until all of them wait for
    its second connection."""
    server.gate = trio.Event()
    told: list[Reply | Disconnected] = []

    async def asker() -> None:
        try:
            told.append(await ask(session))
        except Disconnected as failed:
            told.append(failed)

    async with trio.open_nursery() as nursery:
        for _ in range(10):
            nursery.start_soon(asker)
        while server.dialled < 2:
            await trio.sleep(0.001)
        await trio.testing.wait_all_tasks_blocked()
        server.gate.set()
    return told


async def test_a_lost_connection_is_made_again_at_the_next_request() -> None:
    server = Server()
    async with serving(server) as session:
        await ask(session)
        assert (session.number, server.dialled) == (1, 1)
        server.drop()
        assert (await ask(session)).status == 0
        assert (session.number, server.dialled) == (2, 2)
        assert session._stats.reconnects == 1


async def test_a_request_under_way_is_sent_once_more() -> None:
    server = Server()
    answers: list[bool | None] = [False, None]
    server.hook = lambda asked: answers.pop(0) if answers else None
    async with serving(server) as session:
        assert (await ask(session)).status == 0
        assert server.commands() == [Command.ECHO, Command.ECHO]


async def test_it_is_sent_for_as_long_as_it_may_wait_and_ever_more_rarely(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """It may be what kills the server."""
    monkeypatch.setattr("netfsfuse.smb.session.lifecycle.SOFT", 0.5)
    server = Server()
    server.hook = lambda asked: False if asked.command == Command.ECHO else None
    async with serving(server) as session:
        with pytest.raises(Disconnected):
            await ask(session)
        assert 3 <= server.commands().count(Command.ECHO) <= 6


async def test_a_session_that_the_server_dropped_counts_as_lost() -> None:
    server = Server()

    def hook(asked: Asked) -> bytes | None:
        if session.number == 1:
            body = replies.error_body()
            return replies.reply(13, asked.message_id, body, status=SESSION_DELETED)
        return None

    async with serving(server) as session:
        server.hook = hook
        assert (await ask(session)).status == 0
        assert session.number == 2


async def test_all_who_wait_share_one_new_connection() -> None:
    server = Server()
    async with serving(server) as session:
        server.drop()
        told = await ten_ask(server, session)
        assert [type(one) for one in told] == [Reply] * 10
        assert server.dialled == 2


async def test_all_who_wait_share_one_failure(impatient: None) -> None:
    server = Server()
    async with serving(server) as session:
        server.drop()
        server.refuse = MountError("host does not answer")
        told = await ten_ask(server, session)
        assert all(isinstance(one, Disconnected) for one in told)
        assert HostDown in [type(one) for one in told]
        assert server.dialled <= 3
        server.refuse = None
        while session.reachability.reach is not Reach.UP:
            await trio.sleep(0.01)
        assert (await ask(session)).status == 0  # a failure is not for ever


async def test_a_server_that_restarts_is_waited_for() -> None:
    server = Server()
    async with serving(server) as session:
        server.drop()
        server.refuse, server.refusals = MountError("connection refused"), 1
        assert (await ask(session)).status == 0
        assert server.dialled == 3


@pytest.mark.parametrize("what", ["descriptor", "thread"])
async def test_without_a_descriptor_or_a_thread_the_next_attempt_counts(
    monkeypatch: pytest.MonkeyPatch, what: str
) -> None:
    server = Server()
    run_sync = trio.to_thread.run_sync
    failures = [OSError(24, "Too many open files")]

    async def no_thread(*arguments, **keywords):
        monkeypatch.setattr(trio.to_thread, "run_sync", run_sync)
        raise RuntimeError("can't start new thread")

    def no_descriptor(config, least):
        if failures:
            raise failures.pop()
        return server.handshaker(config, least)

    async with serving(server) as session:
        server.drop()
        if what == "thread":
            monkeypatch.setattr(trio.to_thread, "run_sync", no_thread)
        else:
            monkeypatch.setattr(session._dialler, "_handshaker", no_descriptor)
        assert (await ask(session)).status == 0
        assert session.number == 2


WRONG = LoginRefused("//host/share: wrong user name or password")


async def test_a_refused_login_is_not_tried_again_for_each_request(
    mock_clock: trio.testing.MockClock, caplog: pytest.LogCaptureFixture
) -> None:
    """A password was changed: what follows must not lock the account. 1,000 requests in a quarter
    of an hour are told at once; the server hears of ten."""
    server = Server()
    caplog.set_level("INFO")
    async with serving(server, within=math.inf) as session:
        server.drop()
        server.refuse = WRONG
        for _ in range(1000):
            with pytest.raises(Barred, match="wrong user name or password"):
                await ask(session)
            mock_clock.jump(0.9)
        assert server.dialled == 1 + 10
        assert session._stats.refused == str(WRONG)
        told = [record for record in caplog.records if str(WRONG) in record.message]
        assert len(told) == 1
        server.refuse = None  # the account is as it was
        mock_clock.jump(600)
        assert (await ask(session)).status == 0
        assert session._stats.refused == ""


async def test_those_who_waited_for_a_refused_login_are_told_so() -> None:
    server = Server()
    async with serving(server) as session:
        server.drop()
        server.refuse = WRONG
        told = await ten_ask(server, session)
        assert [type(one) for one in told] == [Barred] * 10
        assert server.dialled == 2


async def test_a_share_that_comes_back_later_than_its_server_is_waited_for(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    server = Server()
    async with serving(server) as session:
        server.drop()
        server.refuse, server.refusals = MountError("there is no share 'share' on host"), 2
        assert (await ask(session)).status == 0
        assert server.dialled == 4
        server.drop()
        server.refusals = -1
        monkeypatch.setattr("netfsfuse.smb.session.lifecycle.SOFT", 1.0)
        with pytest.raises(Disconnected):
            await ask(session)
        assert server.dialled > 4


async def test_a_new_connection_must_have_what_the_first_one_had() -> None:
    server = Server()
    async with serving(server, max_channels=2) as session:
        assert server.least is None
        first = session.live.established.protection if session.live else None
        assert first == Protection(dialect=0x311)
        server.drop()
        await ask(session)
        assert server.least == first
        await session._for_channel().connect()
        assert server.least == first


async def test_the_first_connection_fails_with_the_line_for_the_user() -> None:
    server = Server(refuse=MountError("there is no share 'share' on host"))
    with pytest.RaisesGroup(pytest.RaisesExc(MountError, match="there is no share")):
        async with serving(server):
            raise AssertionError("connected")


async def test_a_closed_session_does_not_come_back() -> None:
    server = Server()
    async with serving(server) as session:
        await ask(session)
        await session.aclose()
        assert server.commands()[-2:] == [Command.TREE_DISCONNECT, Command.LOGOFF]
        with pytest.raises(Disconnected):
            await ask(session)
        assert server.dialled == 1


async def test_a_closed_session_makes_no_first_connection_either() -> None:
    server = Server()
    async with serving(server) as session:
        await session.aclose()
        with pytest.raises(MountError, match="going away"):
            await session.connect()
        assert server.dialled == 1


async def test_who_gives_up_waiting_leaves_the_attempt_to_the_next() -> None:
    """And it goes on: a server that takes its time with a login is not sent another."""
    server = Server()
    async with serving(server) as session:
        server.drop()
        server.gate = gate = trio.Event()
        for _ in range(3):
            with trio.move_on_after(0.02) as scope:
                await ask(session)
            assert scope.cancelled_caught
        gate.set()
        assert (await ask(session)).status == 0
        assert server.dialled == 2
        assert session._stats.reconnects == 1


async def test_a_login_is_refused_also_when_nobody_waits_any_more(
    mock_clock: trio.testing.MockClock,
) -> None:
    server = Server()
    async with serving(server, within=math.inf) as session:
        server.drop()
        server.gate, server.refuse = trio.Event(), WRONG
        async with trio.open_nursery() as nursery:
            nursery.start_soon(ask, session)
            while server.dialled < 2:
                await trio.lowlevel.checkpoint()
            nursery.cancel_scope.cancel()
        server.gate.set()
        with pytest.raises(Barred):
            await ask(session)
        with pytest.raises(Barred):
            await ask(session)
        assert server.dialled == 2


async def test_closing_ends_an_attempt_to_connect() -> None:
    server = Server()
    async with serving(server) as session:
        server.drop()
        server.gate = gate = trio.Event()
        async with trio.open_nursery() as nursery:

            async def asker() -> None:
                with pytest.raises(Disconnected):
                    await ask(session)

            nursery.start_soon(asker)
            while server.dialled < 2:
                await trio.sleep(0.001)
            await session.aclose()
        gate.set()
        assert session.live is None
