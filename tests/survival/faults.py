"""The scenarios: what befalls the line or the server, and what programs may see of it.

A fault is a function of a :class:`Stage`; the loads work while it acts. ``longest``: seconds that
no round may take, counted from the fault's end for those that began before. ``errors``: what
programs may be told. A writer may be told EIO as well, but where no
connection ends (``lasting``): a change that was not answered is not sent again. ``tardy``: why it
does not pass yet.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

from netfsfuse.smb.wire.header import Command
from tests.support import messages
from tests.support.messages import Change
from tests.survival.stage import Stage


@dataclass(frozen=True)
class Scenario:
    """See the module. ``options``: the mount's; ``server``: smbd's; ``short``: in the suite."""

    act: Callable[[Stage], None]
    longest: float
    errors: frozenset[str] = frozenset()
    options: tuple[str, ...] = ()
    server: Mapping[str, str] = field(default_factory=dict)
    short: bool = False
    lasting: bool = False
    tardy: str = ""
    loads: tuple[str, ...] = ()


def changed(change: Callable[[], Change], seconds: float = 0.3) -> Callable[[Stage], None]:
    """Replies are changed for a while."""

    def act(stage: Stage) -> None:
        stage.line.to_client.change = change()
        stage.rest(seconds)
        stage.line.to_client.change = None

    return act


def paused(seconds: float) -> Callable[[Stage], None]:
    """Nothing passes for a while, then all of it."""

    def act(stage: Stage) -> None:
        stage.line.pause()
        stage.rest(seconds)
        stage.line.resume()

    return act


def one_way(seconds: float, to_client: bool) -> Callable[[Stage], None]:
    """One direction does not pass for a while."""

    def act(stage: Stage) -> None:
        stage.line.pause(stage.line.to_client if to_client else stage.line.to_server)
        stage.rest(seconds)
        stage.line.resume()

    return act


def refused(seconds: float) -> Callable[[Stage], None]:
    """Cut, and no connection is taken for a while."""

    def act(stage: Stage) -> None:
        stage.line.refuse()
        stage.line.cut()
        stage.rest(seconds)
        stage.line.accept()

    return act


def ignored(seconds: float) -> Callable[[Stage], None]:
    """Silent, and SYNs are dropped, for a while; what was connected stays dead."""

    def act(stage: Stage) -> None:
        stage.line.ignore()
        stage.line.silence()
        stage.rest(seconds)
        stage.line.accept()

    return act


def repeatedly(act: Callable[[Stage], None], times: int, pause: float) -> Callable[[Stage], None]:
    """Again and again."""

    def again(stage: Stage) -> None:
        for _ in range(times):
            act(stage)
            stage.rest(pause)

    return again


def slowed(rate: float, seconds: float, piece: int = 1 << 18) -> Callable[[Stage], None]:
    """Few bytes a second, in small pieces."""

    def act(stage: Stage) -> None:
        stage.line.to_client.drip(piece, rate)
        stage.rest(seconds)
        stage.line.to_client.drip(1 << 18, 1e12)

    return act


def jittered(stage: Stage) -> None:
    """Each piece is up to 50 ms late."""
    stage.line.to_client.jitter = stage.line.to_server.jitter = 0.05
    stage.rest(1)
    stage.line.to_client.jitter = stage.line.to_server.jitter = 0.0


def stopped(seconds: float) -> Callable[[Stage], None]:
    """All of the server's processes stand still for a while: the kernel takes what is sent."""

    def act(stage: Stage) -> None:
        with stage.server.stopped():
            stage.rest(seconds)

    return act


def password_changed(stage: Stage) -> None:
    """At the server, and back again."""
    password = stage.server.password
    stage.server.add_user(stage.server.username, "another")
    stage.line.cut()
    stage.rest(4)
    stage.server.add_user(stage.server.username, password)


def killed(stage: Stage) -> None:
    """All of the server, and it comes back."""
    stage.server.kill()
    stage.server.restart()


def one_after_the_other(*acts: Callable[[Stage], None]) -> Callable[[Stage], None]:
    """Each once the loads have recovered from the one before; twice, for what one connection lost
    is asked for again once only, and a reader beside the one that was looked at may be late."""

    def act(stage: Stage) -> None:
        for number, one in enumerate(acts):
            if number:
                stage.working.wait_turns(_RECOVERY)
                stage.working.wait_turns(_RECOVERY)
            one(stage)

    return act


def reset(stage: Stage) -> None:
    """RST, to both sides."""
    stage.line.cut(reset=True)


def closed(stage: Stage) -> None:
    """FIN, to both sides."""
    stage.line.cut()


def half_closed(stage: Stage) -> None:
    """FIN, to the client."""
    stage.line.half_close()


def silent(stage: Stage) -> None:
    """What is connected is dead, and no one says so."""
    stage.line.silence()


def once(change: Change, command: Command = Command.READ, number: int = 3) -> Callable[[], Change]:
    """One message is changed."""
    return lambda: messages.nth(number, change, command)


_LOGIN = (Command.NEGOTIATE, Command.SESSION_SETUP, Command.TREE_CONNECT)


def often(change: Change, command: Command | None = None) -> Callable[[], Change]:
    """One of nine messages is changed, those of a login not counted."""

    def make() -> Change:
        act = messages.each(9, change, command)
        return lambda message: None if message.command in _LOGIN else act(message)

    return make


_RECOVERY = 20.0
_EIO = frozenset({"EIO"})
_AWAY = frozenset({"EIO", "EHOSTDOWN", "ETIMEDOUT"})
_REPLAY = "what was lost is asked for again once, not as long as the server comes back"
_FEW = ("look", "df", "idle")

SCENARIOS: Mapping[str, Scenario] = {
    "connections-end": Scenario(one_after_the_other(reset, half_closed, closed), 10, short=True),
    "messages-tampered": Scenario(
        one_after_the_other(
            changed(often(messages.flipped)),
            changed(often(messages.shorter)),
            changed(often(messages.unsigned)),
        ),
        15,
        _EIO,
        short=True,
    ),
    "messages-tampered-once": Scenario(
        one_after_the_other(
            changed(once(messages.flipped)),
            changed(once(messages.refused)),
            changed(once(messages.unsigned)),
            changed(often(messages.twice)),
        ),
        10,
        short=True,
    ),
    "server-killed": Scenario(killed, 10, short=True),
    "refused-2s": Scenario(refused(2), 10, short=True),
    "old-connection-dead": Scenario(silent, 5),
    "reset": Scenario(reset, 8),
    "closed": Scenario(closed, 8),
    "half-closed": Scenario(half_closed, 8),
    "cut-each-100ms": Scenario(repeatedly(closed, 100, 0.1), 30, tardy=_REPLAY),
    "killed-each-3s": Scenario(repeatedly(killed, 4, 3.0), 25),
    "jitter": Scenario(jittered, 8, lasting=True),
    "stall-1": Scenario(paused(1), 8, lasting=True),
    "stall-5": Scenario(paused(5), 12, lasting=True),
    "stall-15": Scenario(paused(15), 22, lasting=True),
    "stall-28": Scenario(paused(28), 40, lasting=True),
    "replies-stalled-5": Scenario(one_way(5, True), 12, lasting=True),
    "requests-stalled-5": Scenario(one_way(5, False), 12, lasting=True),
    "refused-20s": Scenario(refused(20), 30),
    "refused-60s": Scenario(refused(60), 45, _AWAY),
    "syn-dropped-60s": Scenario(ignored(60), 45, _AWAY),
    "server-stopped-5s": Scenario(stopped(5), 14, lasting=True),
    "server-stopped-60s": Scenario(stopped(60), 45, _AWAY),
    "password-changed": Scenario(password_changed, 20, _AWAY | {"EACCES"}),
    "syn-dropped-5s": Scenario(ignored(5), 14),
    "lost-reply": Scenario(changed(once(messages.lost)), 15),
    "lost-answer-to-an-open": Scenario(changed(once(messages.lost, Command.CREATE)), 15),
    "throttle-20k": Scenario(slowed(20_000, 20), 60, loads=_FEW),
    "throttle-1m": Scenario(slowed(1_000_000, 10), 40, lasting=True),
    "drip": Scenario(slowed(2_000, 5, piece=1), 30, loads=_FEW),
    "replies-twice": Scenario(changed(often(messages.twice)), 8),
    "payload-flipped": Scenario(changed(often(messages.flipped)), 8, _EIO),
    "payload-flipped-once": Scenario(changed(once(messages.flipped)), 8),
    "truncated": Scenario(changed(often(messages.shorter)), 8, _EIO),
    "truncated-once": Scenario(changed(once(messages.shorter)), 8),
    "length-changed": Scenario(changed(often(messages.longer)), 8, _EIO),
    "status-changed": Scenario(changed(often(messages.refused)), 8, _EIO),
    "payload-length": Scenario(changed(often(messages.payload_length, Command.READ)), 8, _EIO),
    "payload-length-once": Scenario(changed(once(messages.payload_length)), 8),
    "unsigned": Scenario(changed(often(messages.unsigned)), 8, _EIO),
}


def mark(stage: Stage, scenario: Scenario) -> None:
    """Let the fault act, and remember when it did."""
    stage.begin = time.monotonic()
    scenario.act(stage)
    stage.end = time.monotonic()
