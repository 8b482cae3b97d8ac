"""What all connections of a mount share: the least protection, the share's refusals, the clock."""

from __future__ import annotations

import socket
from collections.abc import Callable

import pytest
import trio.testing

from netfsfuse.config import ServerConfig
from netfsfuse.errors import LoginRefused, MountError
from netfsfuse.smb.connection.handshake_result import HandshakeResult, Protection
from netfsfuse.smb.session.dialler import Dialler
from netfsfuse.smb.session.lifecycle import REFUSAL_FIRST, State
from netfsfuse.stats import ServerStats
from tests.smb.peer import established

NO = LoginRefused("wrong user name or password")


class Handshakes:
    """Each runs as ``outcome`` says, and notes what it must have at least."""

    def __init__(self) -> None:
        self.asked: list[Protection | None] = []
        self.ours, self.theirs = socket.socketpair()
        self.outcome: Callable[[], HandshakeResult] = lambda: established(self.ours)

    def __call__(self, _: ServerConfig, least: Protection | None) -> Handshakes:
        self.asked.append(least)
        return self

    def go_on(self) -> None:
        """It does not wait for that."""

    def run(self, reached: Callable[[], None]) -> HandshakeResult:
        reached()
        return self.outcome()

    def abandon(self) -> None:
        """Nothing is left to end."""

    def refuse(self) -> HandshakeResult:
        raise NO


@pytest.fixture
def handshakes():
    made = Handshakes()
    yield made
    made.ours.close()
    made.theirs.close()


@pytest.fixture
def dialler(handshakes: Handshakes) -> Dialler:
    return Dialler(ServerConfig("nas", "films"), stats=ServerStats(), handshaker=handshakes)  # type: ignore[arg-type]


async def test_later_connections_must_have_what_the_first_one_had(
    dialler: Dialler, handshakes: Handshakes
) -> None:
    await dialler.dial()
    handshakes.outcome = lambda: established(handshakes.ours, dialect=0x302)
    await dialler.dial_further()
    await dialler.dial()
    assert handshakes.asked == [None, *[Protection(dialect=0x311)] * 2]


@pytest.mark.parametrize("what", ["max_read", "max_transact"])
async def test_a_server_that_sends_too_little_is_left(
    dialler: Dialler, handshakes: Handshakes, what: str
) -> None:
    handshakes.outcome = lambda: established(handshakes.ours, **{what: 4095})
    with pytest.raises(MountError, match="nas sends less than 4096 bytes"):
        await dialler.dial()
    assert handshakes.ours.fileno() == -1
    assert dialler.least is None


async def test_a_refused_further_connection_is_said_once_and_not_tried_again(
    dialler: Dialler,
    handshakes: Handshakes,
    mock_clock: trio.testing.MockClock,
    caplog: pytest.LogCaptureFixture,
) -> None:
    handshakes.outcome = handshakes.refuse
    for _ in range(3):
        with pytest.raises(LoginRefused, match="wrong user"):
            await dialler.dial_further()
    assert len(handshakes.asked) == 1
    mock_clock.jump(REFUSAL_FIRST)
    with pytest.raises(LoginRefused):
        await dialler.dial_further()
    assert len(handshakes.asked) == 2
    assert [record.levelname for record in caplog.records if "not asked" in record.message] == [
        "WARNING"
    ]
    assert dialler.stats.refused == str(NO)
    handshakes.outcome = lambda: established(handshakes.ours)
    mock_clock.jump(1000)
    await dialler.dial_further()
    assert dialler.stats.refused == ""
    assert dialler.life.state is State.NEW  # it is the mount's own connection's
    assert "//nas/films lets us in again" in caplog.text
