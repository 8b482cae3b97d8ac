"""The life of a mount's connection: its table walked row by row, and its times. No I/O."""

from __future__ import annotations

from typing import NamedTuple

import pytest
from hypothesis import given
from hypothesis import strategies as st

from netfsfuse.errors import LoginRefused, Refused
from netfsfuse.smb.session import lifecycle
from netfsfuse.smb.session.lifecycle import (
    FIRST_PAUSE,
    LONGEST_PAUSE,
    OUTAGE_TIMEOUT,
    REFUSAL_FIRST,
    Action,
    Lifecycle,
    State,
)

NO = LoginRefused("no")


class Row(NamedTuple):
    """One row of the table in the module's docstring."""

    state: str
    event: str
    where: str
    action: str
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
    "begin": lambda life, now: life.begin(now),
    "connected": lambda life, now: life.connected(),
    "failed": lambda life, now: life.failed(now),
    "paused": lambda life, now: life.paused(now),
    "refused": lambda life, now: life.refused(NO, now),
    "given_up": lambda life, now: life.given_up(),
    "further_connected": lambda life, now: life.further_connected(),
    "further_refused": lambda life, now: life.further_refused(NO, now),
    "close": lambda life, now: life.close(),
}


def brought_to(state: State) -> Lifecycle:
    """At time 0, nothing standing but in REFUSED; CONNECTING from UP."""
    life = Lifecycle()
    steps = {
        State.NEW: [],
        State.UP: ["begin", "connected"],
        State.CONNECTING: ["begin", "connected", "begin"],
        State.DOWN: ["begin", "given_up"],
        State.REFUSED: ["begin", "refused"],
        State.GONE: ["close"],
    }[state]
    for step in steps:
        EVENTS[step](life, 0.0)
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
    life, now = brought_to(state), 1.0
    if row.where == "a refusal stands":
        life.further_refused(NO, now)
    elif row.where in ("no refusal stands", "after it"):
        now = 1000.0
    else:
        assert row.where in ("always", "within the outage's time")
    assert EVENTS[row.event](life, now) is Action[row.action]
    assert life.state is (state if row.next == "the same" else State[row.next])


def test_what_the_table_does_not_name_is_a_fault() -> None:
    named = {(state, row.event) for row, state in rows_by_state()}
    assert len(named) > 25
    for state in State:
        for event, report in EVENTS.items():
            if (state, event) in named:
                continue
            life = brought_to(state)
            if state is State.GONE:
                assert report(life, 1.0) is Action.DISCONNECTED
            else:
                with pytest.raises(ValueError, match=state.name):
                    report(life, 1.0)
            assert life.state is state


def test_the_table_has_all_states_events_and_actions() -> None:
    assert {row.event for row in ROWS} == set(EVENTS)
    assert {row.action for row in ROWS} == set(Action.__members__)
    assert {state for row in ROWS for state in states_of(row)} == set(State)


# -- an outage -------------------------------------------------------------------------------------


def in_outage(at: float) -> Lifecycle:
    """Lost at that time."""
    life = brought_to(State.UP)
    life.begin(at)
    return life


def test_a_server_that_restarts_is_asked_again_while_the_time_lasts() -> None:
    life, now, pauses = in_outage(100.0), 100.0, []
    while life.failed(now) is Action.PAUSE:
        pauses.append(round(life.pause, 9))
        now += life.pause
        assert life.paused(now) is Action.DIAL
    assert pauses == [0.1, 0.2, 0.4, 0.8, 1.0, 1.0, 1.0]
    assert now <= 100.0 + OUTAGE_TIMEOUT
    assert life.state is State.DOWN


def test_in_a_long_outage_each_request_makes_one_attempt() -> None:
    life = in_outage(0.0)
    assert life.failed(OUTAGE_TIMEOUT) is Action.DISCONNECTED
    for now in (6.0, 7.0, 1000.0):
        assert life.begin(now) is Action.DIAL  # the same outage
        assert life.failed(now) is Action.DISCONNECTED


def test_the_time_begins_anew_after_a_connection() -> None:
    life = in_outage(0.0)
    life.failed(OUTAGE_TIMEOUT)
    life.begin(50.0)
    life.connected()
    life.begin(60.0)
    assert life.failed(60.0) is Action.PAUSE
    assert life.pause == FIRST_PAUSE


def test_the_first_connection_is_tried_once() -> None:
    life = Lifecycle()
    life.begin(0.0)
    assert life.failed(0.0) is Action.DISCONNECTED
    assert not life.was_up


def test_what_was_given_up_ends_the_attempt_and_not_the_outage() -> None:
    life = in_outage(0.0)
    life.given_up()
    life.begin(1.0)
    assert life.failed(1.0) is Action.PAUSE  # still within the time of the first attempt
    assert life.pause == FIRST_PAUSE


def test_gone_is_for_good() -> None:
    life = in_outage(0.0)
    for event in ("close", "close", "connected", "refused", "given_up", "failed", "paused"):
        assert EVENTS[event](life, 0.0) is Action.DISCONNECTED
        assert life.state is State.GONE
    assert life.begin(1.0) is Action.DISCONNECTED
    assert life.refusal is None


@given(st.lists(st.floats(0, 3), max_size=40))
def test_pauses_stay_within_their_bounds_and_end(steps: list[float]) -> None:
    life, now = in_outage(0.0), 0.0
    for step in steps:
        if life.failed(now) is not Action.PAUSE:
            assert now + FIRST_PAUSE > OUTAGE_TIMEOUT - LONGEST_PAUSE
            return
        assert FIRST_PAUSE <= life.pause <= LONGEST_PAUSE
        assert now + life.pause <= OUTAGE_TIMEOUT
        now += max(life.pause, step)


# -- a refusal -------------------------------------------------------------------------------------


def attempts(refusal: Refused, seconds: int) -> list[int]:
    """When the server is asked, where a request comes each second and is always refused."""
    life, asked = brought_to(State.UP), []
    for now in range(seconds):
        if life.begin(now) is Action.DIAL:
            asked.append(now)
            life.refused(refusal, now)
        assert life.state is State.REFUSED
    return asked


def test_a_refused_login_is_tried_ever_more_rarely() -> None:
    assert attempts(NO, 3600) == [0, 5, 25, 105, 425, 1025, 1625, 2225, 2825, 3425]


def test_what_locks_no_account_is_tried_each_minute() -> None:
    assert attempts(Refused("no"), 300) == [0, 5, 25, 85, 145, 205, 265]


@pytest.mark.parametrize("further", [False, True])
def test_once_let_in_it_begins_anew(further: bool) -> None:
    life = brought_to(State.UP)
    for now in (0, 5, 25):
        life.begin(now)
        life.refused(NO, now)
    if further:
        life.further_connected()
    else:
        life.begin(200)
        life.connected()
    assert (life.refusal, life.standing(26), life.stands_for(26)) == (None, None, 0)
    life.further_refused(NO, 1000)
    assert life.stands_for(1000) == REFUSAL_FIRST


def test_a_failure_between_two_refusals_makes_the_second_no_shorter() -> None:
    life = brought_to(State.UP)
    life.begin(0)
    life.refused(NO, 0)
    life.begin(6)
    life.failed(6)
    life.given_up() if life.state is State.CONNECTING else None
    life.begin(7)
    life.refused(NO, 7)
    assert life.stands_for(7) == 20


def test_a_refused_further_connection_leaves_what_is_up_and_bars_what_comes() -> None:
    life = brought_to(State.UP)
    life.further_refused(NO, 0.0)
    assert life.state is State.UP
    assert life.begin(4.9) is Action.BARRED
    assert life.refusal is NO
    assert life.begin(5.0) is Action.DIAL
