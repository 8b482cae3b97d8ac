"""A line that alters messages at random, between the mount and a real server.

With the options that a mount has by default no program is ever shown a wrong byte, whichever bit,
length, order or number is altered on the way: it gets what is right, or an error. When the line is
honest again, all is well by itself.
"""

from __future__ import annotations

import random
from pathlib import Path

import pytest

from netfsfuse.config import Credentials, ServerConfig
from netfsfuse.errors import MountError
from netfsfuse.lab.server.samba import PrivateSamba
from netfsfuse.smb.session.bridge import Handshake
from netfsfuse.smb.wire.header import Command
from tests.support.messages import Message, Mutation
from tests.survival import loads
from tests.survival.stage import Stage, Working, check_nothing_left

_LOGIN = (Command.NEGOTIATE, Command.SESSION_SETUP, Command.TREE_CONNECT)


class Altering:
    """Alters all but logins, until ``most`` messages were; counts both directions together."""

    def __init__(self, seed: int, rarity: int, most: int) -> None:
        self.mutation = Mutation(seed, rarity)
        self._most = most

    @property
    def is_over(self) -> bool:
        return self.mutation.changed >= self._most

    def __call__(self, message: Message) -> object:
        if self.is_over or message.command in _LOGIN:
            return None
        return self.mutation(message)


@pytest.fixture(scope="module")
def served(session_folder: Path):
    with PrivateSamba(base=session_folder) as server:
        loads.prepare(server.path)
        yield server


def work_on_an_altering_line(served, mount, proxy, seed: int, most: int, seconds: float) -> None:
    """``most`` messages in each direction are altered while all loads work."""
    line = proxy(served.port)
    source = f"//127.0.0.1:{line.port}/{served.share}"
    mounted = mount(served, "nofsc", source=source)
    working = Working(mounted.path, loads.NAMES)
    stage = Stage(served, line, mounted, working)
    try:
        working.wait_turns(20)
        descriptors, threads = stage.descriptors(), stage.threads()
        line.to_client.change = replies = Altering(seed, 40, most)
        line.to_server.change = requests = Altering(seed + 1, 200, most // 8)
        working.wait_for(lambda: replies.is_over and requests.is_over, seconds)
        line.to_client.change = line.to_server.change = None
        working.wait_turns(45)
        turns = working.end(45)
    finally:
        working.kill()
    assert not [turn for turn in turns if turn.wrong]
    assert [turn for turn in turns if not turn.error]
    check_nothing_left(stage, descriptors, threads, sessions=2)


def test_an_altering_line(served, mount, proxy) -> None:
    work_on_an_altering_line(served, mount, proxy, 1, 60, 40)


@pytest.mark.soak
@pytest.mark.parametrize("seed", range(2, 6))
def test_an_altering_line_for_long(served, mount, proxy, seed: int) -> None:
    work_on_an_altering_line(served, mount, proxy, seed, 5_000, 1800)


def log_in_on_an_altering_line(served, proxy, seed: int) -> None:
    """A login of which one message in three is altered, either way, ends in an error, or is as well
    protected as it would have been."""
    line = proxy(served.port, on_request=Mutation(seed, 6), on_reply=Mutation(seed + 1000, 6))
    who = Credentials(username=served.username, password=served.password)
    config = ServerConfig(
        host=served.host,
        share=served.share,
        port=line.port,
        credentials=who,
        connect_timeout=random.Random(seed).choice((0.5, 1.0)),
    )
    made, said = None, ""
    try:
        made = Handshake(config).run()
    except MountError as error:
        said = str(error)
    finally:
        line.cut()
    if made is None:
        assert said
        assert "\n" not in said
        assert served.password not in said
        return
    made.sock.close()
    assert made.dialect == 0x311
    assert made.sign_requests
    assert made.signer is not None


@pytest.mark.parametrize("seed", range(12))
def test_a_login_on_an_altering_line(served, proxy, seed: int) -> None:
    log_in_on_an_altering_line(served, proxy, seed)


@pytest.mark.soak
def test_two_thousand_logins_on_an_altering_line(served, proxy) -> None:
    for seed in range(100, 2100):
        log_in_on_an_altering_line(served, proxy, seed)
