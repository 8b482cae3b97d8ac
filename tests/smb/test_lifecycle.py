"""The life of a mount's connection: its table walked row by row, and its times. No I/O."""

from __future__ import annotations

import math
from itertools import pairwise
from typing import NamedTuple

import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

from netfsfuse.errors import LoginRefused, Refused
from netfsfuse.smb.session import lifecycle
from netfsfuse.smb.session.lifecycle import (
    FIRST_PAUSE,
    FORGOTTEN,
    FORGOTTEN_PAUSE,
    JITTER,
    LONGEST_PAUSE,
    REFUSAL_FIRST,
    SOFT,
    Lifecycle,
    State,
    Tell,
)

NO = LoginRefused("no")


class Row(NamedTuple):
    """One row of the table in the module's docstring."""

    state: str
    event: str
    next: str


def table() -> list[Row]:
    _, head, body, *_ = (lifecycle.__doc__ or "").split("==========  =================")[0:4]
    starts = [head.splitlines()[1].index(word) for word in Row._fields]
    ends = [*starts[1:], None]
    return [
        Row(*(line[a:b].strip() for a, b in zip(starts, ends, strict=True)))
        for line in body.splitlines()[1:]
    ]


ROWS = table()

EVENTS = {
    "begin": lambda life, now: life.begin(),
    "connected": lambda life, now: life.connected(now),
    "suspected": lambda life, now: life.suspected(now, now),
    "recovered": lambda life, now: life.recovered(),
    "lost": lambda life, now: life.lost(now),
    "failed": lambda life, now: life.failed(now),
    "refused": lambda life, now: life.refused(NO, now),
    "further_connected": lambda life, now: life.further_connected(),
    "further_refused": lambda life, now: life.further_refused(NO, now),
    "reset": lambda life, now: life.reset(now),
    "close": lambda life, now: life.close(),
}


def brought_to(state: State, *, hard: bool = False, jitter: float = 0.0) -> Lifecycle:
    """At time 0, nothing standing but in REFUSED; connected long ago."""
    life = Lifecycle(hard=hard, jitter=lambda: jitter)
    steps = {
        State.NEW: [],
        State.CONNECTING: ["begin"],
        State.UP: ["begin", "connected"],
        State.SUSPECT: ["begin", "connected", "suspected"],
        State.DOWN: ["begin", "connected", "lost"],
        State.REFUSED: ["begin", "connected", "lost", "refused"],
        State.GONE: ["close"],
    }[state]
    for step in steps:
        EVENTS[step](life, -1000.0 if step == "connected" else 0.0)
    assert life.state is state
    return life


def states_of(row: Row) -> list[State]:
    if row.state == "any":
        return list(State)
    if row.state == "any other":
        named = {other.state for other in ROWS if other.event == row.event}
        return [state for state in State if state.name not in named]
    return [State[row.state]]


def rows_by_state() -> list[tuple[Row, State]]:
    return [(row, state) for row in ROWS for state in states_of(row)]


@pytest.mark.parametrize(("row", "state"), rows_by_state())
def test_each_row_of_the_table(row: Row, state: State) -> None:
    life = brought_to(state)
    EVENTS[row.event](life, 1.0)
    assert life.state is (state if row.next == "the same" else State[row.next])


def test_what_the_table_does_not_name_is_a_fault() -> None:
    named = {(state, row.event) for row, state in rows_by_state()}
    assert len(named) > 40
    for state in State:
        for event, report in EVENTS.items():
            if (state, event) in named:
                continue
            life = brought_to(state)
            if state is State.GONE:
                report(life, 1.0)
            else:
                with pytest.raises(ValueError, match=state.name):
                    report(life, 1.0)
            assert life.state is state


def test_the_table_has_all_states_and_events() -> None:
    assert {row.event for row in ROWS} == set(EVENTS)
    assert {state for row in ROWS for state in states_of(row)} == set(State)


# -- dialling --------------------------------------------------------------------------------------


def dials(life: Lifecycle, until: float, *, asked: bool = True) -> list[float]:
    """When the server is dialled, where each attempt fails at once and a request comes each
    second if ``asked``."""
    made: list[float] = []
    now = 0.0
    while now < until:
        if asked:
            life.request(now)
        if life.dial_at() <= now:
            made.append(now)
            life.failed(now)
        now = min(life.dial_at(), now + 1.0)
    return made


@pytest.mark.parametrize("state", [State.DOWN, State.SUSPECT])
def test_a_server_that_is_away_is_dialled_at_once_and_then_ever_more_rarely(state: State) -> None:
    made = dials(brought_to(state), 10)
    gaps = [round(b - a, 6) for a, b in pairwise(made)]
    assert made[0] == 0
    assert gaps[:7] == [0.1, 0.2, 0.4, 0.8, 1.6, 2.0, 2.0]


@pytest.mark.parametrize("jitter", [0.0, 0.5, 1.0])
def test_an_outage_of_ten_minutes_costs_a_dial_in_two_seconds(jitter: float) -> None:
    made = dials(brought_to(State.DOWN, jitter=jitter), 600)
    assert len(made) <= 300 + 5
    assert all(b - a <= LONGEST_PAUSE * (1 + JITTER) + 1e-9 for a, b in pairwise(made))


def test_an_outage_about_which_nobody_asks_costs_less_and_ends_with_the_first_request() -> None:
    life = brought_to(State.DOWN)
    made = dials(life, 3600, asked=False)
    assert 110 < len(made) < 170
    life.failed(3600.0)
    assert life.dial_at() == 3600.0 + FORGOTTEN_PAUSE
    life.request(3601.0)
    assert life.dial_at() == 3601.0
    assert FORGOTTEN_PAUSE > LONGEST_PAUSE
    assert FORGOTTEN > SOFT


def test_a_connection_that_does_not_last_counts_as_a_failure() -> None:
    """Cut each 100 ms: dialled ever more rarely, but not so rarely where something was answered on
    it; killed each 3 s: at once."""
    for lasts, of_use, least, most in (
        (0.1, False, 5, 11),
        (0.1, True, 30, 40),
        (3.0, False, 3, 4),
    ):
        life, now, made = brought_to(State.UP), 0.0, 0
        while now < 10:
            life.lost(now, was_of_use=of_use)
            now = max(now, life.dial_at())
            made += 1
            life.connected(now)
            now += lasts
        assert least <= made <= most
        if lasts > 2:
            life.lost(now)
            assert life.dial_at() == now


def test_a_server_that_answers_new_connections_only_is_left_alone_ever_longer() -> None:
    """Its disk hangs: each new connection is fine until it is asked something."""
    life, now, waits = brought_to(State.UP), 0.0, []
    for _ in range(6):
        life.suspected(now, now + 3)
        waits.append(life.dial_at() - (now + 3))
        now = life.dial_at() + 0.1
        life.connected(now)
    assert waits == [0, 2, 4, 8, 16, 20]
    life.suspected(now + 60, now + 63)
    assert life.dial_at() == now + 63


# -- requests --------------------------------------------------------------------------------------


def test_requests_wait_for_thirty_seconds_from_the_beginning_and_fail_then() -> None:
    life = brought_to(State.UP)
    assert life.request(0.0) == (Tell.ASK, math.inf)
    life.suspected(100.0, 103.0)
    assert life.request(104.0) == (Tell.WAIT, 130.0)
    life.lost(120.0)
    assert life.request(129.9) == (Tell.WAIT, 130.0)
    assert life.request(130.0).tell is Tell.FAIL
    life.connected(200.0)
    assert life.request(200.0).tell is Tell.ASK
    life.lost(300.0)
    assert life.request(301.0) == (Tell.WAIT, 330.0)


def test_where_it_is_hard_they_wait_for_ever() -> None:
    life = brought_to(State.DOWN, hard=True)
    assert life.request(1e6) == (Tell.WAIT, math.inf)
    assert life.may_ask_again(0.0, 1e6)
    assert not brought_to(State.DOWN).may_ask_again(0.0, SOFT)


def test_gone_is_for_good() -> None:
    life = brought_to(State.DOWN)
    for event in ("close", "close", "connected", "refused", "lost", "failed", "recovered"):
        EVENTS[event](life, 0.0)
        assert life.state is State.GONE
    assert life.request(1.0).tell is Tell.GONE
    assert life.dial_at() == math.inf


# -- a refusal -------------------------------------------------------------------------------------


def attempts(refusal: Refused, seconds: int) -> list[int]:
    """When the server is asked, where a request comes each second and is always refused."""
    life, asked = brought_to(State.DOWN), []
    for now in range(seconds):
        life.request(float(now))
        if life.dial_at() <= now:
            asked.append(now)
            life.refused(refusal, float(now))
            assert life.request(float(now)).tell is Tell.BARRED
        assert life.state is State.REFUSED
    return asked


def test_a_refused_login_is_tried_ever_more_rarely() -> None:
    asked = attempts(NO, 1800)
    assert asked == [0, 5, 15, 25, 35, 65, 125, 245, 485, 785, 1085, 1385, 1685]
    for start in range(0, 1800, 10):
        assert sum(start <= at < start + 60 for at in asked) <= 5


def test_what_locks_no_account_is_tried_each_minute() -> None:
    assert attempts(Refused("no"), 250) == [0, 5, 15, 25, 35, 65, 125, 185, 245]


def test_a_refused_login_is_tried_for_no_one() -> None:
    life = brought_to(State.REFUSED)
    assert life.dial_at() == math.inf
    assert life.request(6.0).tell is Tell.WAIT
    assert life.dial_at() <= 6.0


@pytest.mark.parametrize("further", [False, True])
def test_once_let_in_it_begins_anew(further: bool) -> None:
    life = brought_to(State.REFUSED)
    for now in (5.0, 25.0):
        life.refused(NO, now)
    if further:
        life.further_connected()
        assert life.dial_at() <= 26
    else:
        life.connected(26)
    assert (life.refusal, life.standing(26), life.stands_for(26)) == (None, None, 0)
    life.further_refused(NO, 1000)
    assert life.stands_for(1000) == REFUSAL_FIRST


def test_a_refused_further_connection_leaves_what_is_up_and_bars_what_comes() -> None:
    life = brought_to(State.UP)
    life.further_refused(NO, 0.0)
    assert life.request(4.9).tell is Tell.ASK
    life.lost(1.0)
    assert life.request(4.9).tell is Tell.BARRED
    assert life.request(5.0).tell is Tell.WAIT
    assert life.dial_at() <= 5.0


def test_other_credentials_are_tried_at_once_and_another_network_not_too_soon() -> None:
    for forgive, at in ((True, 101.0), (False, 105.0)):
        life = brought_to(State.REFUSED)
        for now in (5.0, 15.0, 25.0, 35.0, 100.0):
            life.refused(NO, now)
        life.reset(101.0, forgive=forgive)
        assert life.dial_at() == at
        assert life.request(104.0).tell is (Tell.WAIT if forgive else Tell.BARRED)
        life.refused(NO, at)
        assert life.stands_for(at) == (REFUSAL_FIRST if forgive else 120.0)


@given(st.integers(0, 30))
def test_no_refusal_stands_for_longer_than_five_minutes(times: int) -> None:
    life = brought_to(State.REFUSED)
    for _ in range(times):
        life.refused(NO, 0.0)
    assert REFUSAL_FIRST <= life.stands_for(0.0) <= 300


# -- whatever comes --------------------------------------------------------------------------------


class AnyLife(RuleBasedStateMachine):
    """Events in any order that a session may report, against what must always hold."""

    def __init__(self) -> None:
        super().__init__()
        self.now = 0.0
        self.life = brought_to(State.UP)
        self.logins: list[float] = []
        self.outage = -math.inf

    @rule(seconds=st.sampled_from([0.0, 0.1, 1.0, 5.0, 40.0]))
    def time_goes_by(self, seconds: float) -> None:
        self.now += seconds

    @rule(event=st.sampled_from(["suspected", "recovered", "lost", "reset", "further_connected"]))
    def something_happens(self, event: str) -> None:
        before = self.life.state
        try:
            EVENTS[event](self.life, self.now)
        except ValueError:
            return
        if event == "further_connected":
            self.logins.clear()
        if before is State.UP and self.life.state in (State.SUSPECT, State.DOWN):
            self.outage = self.now

    @rule(how=st.sampled_from(["connected", "failed", "refused"]))
    def an_attempt_that_is_due(self, how: str) -> None:
        if self.life.dial_at() <= self.now:
            EVENTS[how](self.life, self.now)
            if how == "refused":
                self.logins.append(self.now)

    @rule()
    def a_request(self) -> None:
        told = self.life.request(self.now)
        state = self.life.state
        assert (told.tell is Tell.ASK) == (state is State.UP)
        if told.tell is Tell.BARRED:
            assert self.life.refusal is not None
        if told.tell is Tell.FAIL:
            assert self.now >= self.outage + SOFT
        if told.tell is Tell.WAIT:  # something will come of it
            assert min(told.until, self.life.dial_at()) < math.inf

    @invariant()
    def logins_are_rare(self) -> None:
        gaps = [b - a for a, b in pairwise(self.logins)]
        assert all(gap >= REFUSAL_FIRST or gap < 0 for gap in gaps)

    @invariant()
    def nothing_is_dialled_while_it_is_up(self) -> None:
        if self.life.state is State.UP:
            assert self.life.dial_at() == math.inf


TestAnyLife = AnyLife.TestCase
assert FIRST_PAUSE < LONGEST_PAUSE
