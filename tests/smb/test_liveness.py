"""Whether a server lives: the rules, and what they come to in worlds where one dies. No I/O."""

from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from netfsfuse.smb.connection.liveness import Facts, Patience, Pulse, judge

PATIENCE = Patience()
TIMES = st.integers(0, 400).map(lambda tenths: tenths / 10)
MAYBE = st.none() | TIMES


@st.composite
def facts(draw: st.DrawFn) -> Facts:
    return Facts(
        draw(TIMES),
        draw(TIMES | st.just(-math.inf)),
        draw(MAYBE),
        draw(MAYBE),
        draw(MAYBE),
        draw(TIMES | st.just(-math.inf)),
        draw(st.booleans()),
        draw(st.booleans()),
    )


@given(facts(), TIMES, st.floats(0, 1))
def test_nothing_changes_before_it_is_looked_at_again(seen: Facts, now: float, part: float) -> None:
    diagnosis = judge(seen, PATIENCE, now)
    if diagnosis.dead or diagnosis.echo:
        return
    assert diagnosis.until > now
    then = now + part * (min(diagnosis.until, now + 100) - now)
    if then < diagnosis.until:
        later = judge(seen, PATIENCE, then)
        assert (later.pulse, later.echo, later.wake, later.dead) == (
            diagnosis.pulse,
            diagnosis.echo,
            diagnosis.wake,
            "",
        )


@given(facts(), TIMES)
def test_no_connection_on_which_bytes_flow_is_suspect(seen: Facts, ago: float) -> None:
    diagnosis = judge(seen, PATIENCE, max(seen.heard_at, seen.taken_at) + min(ago, 0.9))
    assert diagnosis.pulse is Pulse.LIVE
    assert diagnosis.dead in ("", "an answer was lost")


@given(facts(), TIMES)
def test_pulse_is_what_the_table_says(seen: Facts, now: float) -> None:
    heard = max(seen.heard_at, seen.taken_at)
    silences = [now - max(since, heard) for since in (seen.echo,) if since is not None]
    silences += [now - max(seen.due, heard) - 1.0] if seen.due is not None else []
    longest = max(silences, default=-1.0)
    diagnosis = judge(seen, PATIENCE, now)
    if "word" in diagnosis.dead or "takes" in diagnosis.dead:
        assert longest >= 29.0
    elif longest >= (20.0 if seen.queued else 2.0):
        assert diagnosis.pulse is Pulse.SUSPECT
    elif longest >= 1.001:
        assert diagnosis.pulse is not Pulse.LIVE
    elif longest < 0.999:
        assert diagnosis.pulse is Pulse.LIVE


@pytest.mark.parametrize(("echoed", "lost"), [(14.9, False), (15.0, True), (99.0, True)])
def test_an_answer_is_lost_that_a_later_echo_has_overtaken(echoed: float, lost: bool) -> None:
    seen = Facts(heard_at=20.0, due=5.0, echoed=echoed)
    assert (judge(seen, PATIENCE, 20.1).dead == "an answer was lost") == lost
    assert not judge(seen._replace(due=None), PATIENCE, 20.1).dead


class World:
    """A client that looks when it is told to. The server answers an ECHO after ``trip`` seconds as
    long as it lives; what else it does comes at the times of ``bytes``."""

    def __init__(self, *, dies: float = math.inf, trip: float = 0.05) -> None:
        self.dies, self.trip = dies, trip
        self.bytes: list[float] = []
        self.facts = Facts(heard_at=0.0)
        self.told: list[tuple[float, Pulse]] = []
        self.echoes: list[float] = []
        self.dead: tuple[float, str] | None = None

    def run(self, until: float, *, due: float | None = None, delayed: float | None = None) -> None:
        now, pulse = 0.0, Pulse.LIVE
        while now < until and self.dead is None:
            self._hear(now)
            begun = due is not None and due <= now
            seen = self.facts._replace(due=due if begun else None, delayed=delayed)
            diagnosis = judge(seen, PATIENCE, now)
            if diagnosis.dead:
                self.dead = (now, diagnosis.dead)
            if diagnosis.pulse is not pulse:
                pulse = diagnosis.pulse
                self.told.append((now, pulse))
            if diagnosis.echo:
                self.echoes.append(now)
                self.facts = self.facts._replace(echo=now)
                if now + self.trip < self.dies:
                    self.bytes.append(now + self.trip)
                continue
            marks = [diagnosis.until, *(at for at in self.bytes if at > now)]
            if due is not None and not begun:
                marks.append(due)
            now = min(marks)

    def _hear(self, now: float) -> None:
        heard = max((at for at in self.bytes if at <= now), default=-math.inf)
        if heard > self.facts.heard_at:
            self.facts = self.facts._replace(heard_at=heard)
        sent = self.facts.echo
        if sent is not None and sent + self.trip <= now and sent + self.trip < self.dies:
            self.facts = self.facts._replace(echo=None, echoed=sent)


def test_an_idle_connection_that_dies_is_suspect_within_the_interval_and_two_seconds() -> None:
    world = World(dies=3.0)
    world.run(25)
    assert world.told == [(11.0, Pulse.DOUBTFUL), (12.0, Pulse.SUSPECT)]


def test_one_that_is_asked_is_suspect_after_three_seconds() -> None:
    world = World(dies=3.0)
    world.run(9, due=4.0)
    assert world.echoes == [5.0]
    assert world.told == [(6.0, Pulse.DOUBTFUL), (7.0, Pulse.SUSPECT)]


def test_a_lost_answer_is_found_out_within_eleven_seconds() -> None:
    world = World()
    world.run(100, due=2.0)
    assert world.dead is not None
    assert 12.0 <= world.dead[0] <= 13.2
    assert world.told == []


def test_what_the_server_is_at_is_no_silence_as_long_as_it_answers_echoes() -> None:
    world = World()
    world.run(60, delayed=1.0)
    assert world.told == []
    assert len(world.echoes) > 30
    dying = World(dies=20.0)
    dying.run(40, delayed=1.0)
    assert dying.told[1][1] is Pulse.SUSPECT
    assert dying.told[1][0] < 23.3


def test_an_idle_connection_costs_an_echo_each_interval() -> None:
    world = World()
    world.run(100)
    assert len(world.echoes) == 9
    assert world.told == []


@given(st.lists(st.floats(0.05, 0.95), min_size=200, max_size=200))
def test_a_drip_is_alive(gaps: list[float]) -> None:
    """One byte each now and then is all that comes of an answer; the ECHOs' are behind it."""
    world = World(trip=1e9)
    world.bytes = [sum(gaps[:n]) for n in range(1, 201)]
    world.run(world.bytes[-1], due=0.5)
    assert world.told == []
    assert world.dead is None
