"""What is sent once more after a lost connection, and what never is. No I/O."""

from __future__ import annotations

from collections.abc import Sequence
from typing import cast

import pytest

from netfsfuse.errors import Disconnected, NetfsError, ProtocolError
from netfsfuse.netfs.demand import Demand
from netfsfuse.smb.connection.credit_gate import Unaffordable
from netfsfuse.smb.connection.exchange import Reply, Request
from netfsfuse.smb.connection.transport import Transport
from netfsfuse.smb.session import replay
from netfsfuse.smb.session.replay import Verdict, may_repeat
from netfsfuse.smb.wire.create import pack_close, pack_create
from netfsfuse.smb.wire.header import RELATED_FILE_ID, Command, Header
from netfsfuse.smb.wire.query import FSCTL_GET_REPARSE_POINT, pack_ioctl

ECHO = Request(Command.ECHO, b"\x04\0\0\0")
CLOSE_OTHER = Request(Command.CLOSE, pack_close(b"h" * 16))
GONE = 0xC0000203  # USER_SESSION_DELETED
CREATE = pack_create("f", access=1, options=0)


def changed(body: bytes, at: int, value: int) -> bytes:
    return body[:at] + value.to_bytes(4, "little") + body[at + 4 :]


@pytest.mark.parametrize(
    ("command", "body", "may"),
    [
        (Command.CREATE, CREATE, True),
        *((Command.CREATE, changed(CREATE, 36, how), False) for how in (0, 2, 3, 4, 5)),
        (Command.CREATE, changed(CREATE, 40, 0x1000), False),  # deleted when it is closed
        (Command.CLOSE, pack_close(RELATED_FILE_ID), True),
        (Command.CLOSE, pack_close(b"h" * 16), False),
        (Command.IOCTL, pack_ioctl(RELATED_FILE_ID, FSCTL_GET_REPARSE_POINT, 10), True),
        (Command.IOCTL, pack_ioctl(RELATED_FILE_ID, 0x000900A4, 10), False),  # sets one
        (Command.READ, b"", True),
        (Command.ECHO, b"", True),
        (Command.QUERY_INFO, b"", True),
        (Command.QUERY_DIRECTORY, b"", True),
        (Command.LOGOFF, b"", False),
        (Command.TREE_DISCONNECT, b"", False),
        (Command.OPLOCK_BREAK, b"", False),
        (Command.CHANGE_NOTIFY, b"", False),
    ],
)
def test_only_what_reads_may_be_repeated(command: Command, body: bytes, may: bool) -> None:
    assert may_repeat([Request(command, body)]) is may
    assert may_repeat([ECHO, Request(command, body), ECHO]) is may


def test_a_command_that_nobody_has_thought_about_is_not_repeated() -> None:
    known = {command for command in Command if command in replay._REPEATABLE}
    for command in set(Command) - known:
        assert not may_repeat([Request(command, b"")])


class Line:
    """A session each of whose connections answers once: with a status, or by raising."""

    def __init__(self, *answers: int | NetfsError) -> None:
        self.answers = list(answers)
        self.sent: list[Sequence[Request]] = []

    async def transport(self) -> Transport:
        return cast(Transport, self)

    def lost(self, reply: Reply, transport: Transport) -> bool:
        return reply.status == GONE

    async def exchange(
        self, requests: Sequence[Request], demand: Demand | None = None
    ) -> list[Reply]:
        self.sent.append(requests)
        answer = self.answers.pop(0)
        if isinstance(answer, NetfsError):
            raise answer
        header = Header(*(0,) * len(Header._fields))._replace(status=answer)
        return [Reply(header, memoryview(b"")) for _ in requests]


@pytest.mark.parametrize("failure", [Disconnected("gone"), ProtocolError("bad"), GONE])
async def test_what_reads_is_sent_once_more(failure: int | NetfsError) -> None:
    line = Line(failure, 0)
    outcome = await replay.run(line, lambda _: [ECHO])
    assert [reply.status for reply in outcome.replies] == [0]
    assert line.sent == [[ECHO], [ECHO]]


@pytest.mark.parametrize("request_", [ECHO, CLOSE_OTHER])
async def test_a_lost_connection_is_told_in_the_end(request_: Request) -> None:
    line = Line(*[Disconnected("gone")] * 3)
    with pytest.raises(Disconnected):
        await replay.run(line, lambda _: [request_])
    assert len(line.sent) == (2 if request_ is ECHO else 1)


@pytest.mark.parametrize("request_", [ECHO, CLOSE_OTHER])
async def test_a_session_that_is_gone_is_told_in_the_end(request_: Request) -> None:
    line = Line(*[GONE] * 3)
    outcome = await replay.run(line, lambda _: [request_])
    assert outcome.replies[0].status == GONE
    assert len(line.sent) == (2 if request_ is ECHO else 1)


async def test_another_failure_is_no_reason() -> None:
    line = Line(NetfsError("something else"))
    with pytest.raises(NetfsError, match="something else"):
        await replay.run(line, lambda _: [ECHO])
    assert len(line.sent) == 1


async def test_a_verdict_may_ask_again_and_does_not_count_what_we_did_ourselves() -> None:
    line = Line(1, 1, 1, 2, 2, 2)
    verdicts = {0: Verdict.FINAL, 1: Verdict.RENEWED, 2: Verdict.AGAIN}
    outcome = await replay.run(
        line, lambda _: [ECHO], judge=lambda replies: verdicts[replies[0].status]
    )
    assert outcome.replies[0].status == 2
    assert len(line.sent) == 5


async def test_what_has_become_too_large_is_made_anew_where_that_helps() -> None:
    line = Line(Unaffordable("too large"), Unaffordable("too large"), Disconnected("gone"), 0)
    assert (await replay.run(line, lambda _: [ECHO], resizes=True)).replies[0].status == 0
    line = Line(Unaffordable("too large"))
    with pytest.raises(Unaffordable):
        await replay.run(line, lambda _: [ECHO])
