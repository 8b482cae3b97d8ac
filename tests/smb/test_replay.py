"""What is sent once more after a lost connection, and what never is. No I/O."""

from __future__ import annotations

import ast
from collections.abc import Sequence
from pathlib import Path
from typing import cast

import pytest

from netfsfuse import smb
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
        (Command.SET_INFO, b"", False),
        (Command.WRITE, b"", False),
        (Command.FLUSH, b"", False),
        (Command.LOCK, b"", False),
    ],
)
def test_only_what_reads_may_be_repeated(command: Command, body: bytes, may: bool) -> None:
    assert may_repeat([Request(command, body)]) is may
    assert may_repeat([ECHO, Request(command, body), ECHO]) is may


def test_each_command_is_in_one_of_the_two_lists() -> None:
    assert set(Command) == replay._REPEATABLE.keys() | replay._NEVER
    assert not replay._REPEATABLE.keys() & replay._NEVER


def test_the_table_in_the_docstring_names_each_command() -> None:
    said = replay.__doc__ or ""
    assert [command.name for command in Command if command.name not in said] == []


def test_a_command_that_is_in_neither_list_is_not_repeated(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    for command in Command:
        monkeypatch.setattr(replay, "_REPEATABLE", {})
        assert not may_repeat([Request(command, b"")])


SENT_ONCE = {
    ("connection/transport.py", "Transport._exchange_one"),  # a part of one exchange
    ("session/replay.py", "once"),
    ("session/session.py", "Session._send_late"),
    ("session/session.py", "Session._acknowledge_later"),
    ("session/session.py", "Session.aclose"),
    ("share/handle.py", "ServerHandle._close"),
    ("share/siblings.py", "read_beside"),  # the primary connection is asked then, by replay
}
"""What sends by itself. None of it is sent again when that fails; all else goes through replay."""


def senders() -> set[tuple[str, str]]:
    """Every function of ours that calls ``exchange`` of anything but a session."""
    root = Path(smb.__path__[0])
    found = set()

    def walk(node: ast.AST, path: str, name: str) -> None:
        for child in ast.iter_child_nodes(node):
            inner = name
            if isinstance(child, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
                inner = f"{name}.{child.name}".lstrip(".")
            elif isinstance(child, ast.Call) and isinstance(child.func, ast.Attribute):
                receiver = ast.unparse(child.func.value)
                if child.func.attr == "exchange" and not receiver.endswith("session"):
                    found.add((path, name))
            walk(child, path, inner)

    for file in root.rglob("*.py"):
        walk(ast.parse(file.read_text()), str(file.relative_to(root)), "")
    return found


def test_all_that_is_sent_again_is_sent_by_replay() -> None:
    assert senders() == SENT_ONCE


class Line:
    """A session each of whose connections answers once: with a status, or by raising."""

    def __init__(self, *answers: int | NetfsError) -> None:
        self.answers = list(answers)
        self.sent: list[Sequence[Request]] = []

    async def transport(self) -> Transport:
        return cast(Transport, self)

    def may_ask_again(self, begun: float, attempts: int) -> bool:
        return attempts < 2

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


async def test_no_verdict_has_a_changing_request_sent_again() -> None:
    for verdict in Verdict:
        line = Line(0, 0)
        await replay.run(line, lambda _: [CLOSE_OTHER], judge=lambda _, say=verdict: say)
        assert len(line.sent) == 1


async def test_what_has_become_too_large_is_made_anew_where_that_helps() -> None:
    line = Line(Unaffordable("too large"), Unaffordable("too large"), Disconnected("gone"), 0)
    assert (await replay.run(line, lambda _: [ECHO], resizes=True)).replies[0].status == 0
    line = Line(Unaffordable("too large"))
    with pytest.raises(Unaffordable):
        await replay.run(line, lambda _: [ECHO])
