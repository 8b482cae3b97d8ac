"""The table of a session's life, walked without I/O."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from netfsfuse.smb.session.lifecycle import (
    FIRST_PAUSE,
    LONGEST_PAUSE,
    OUTAGE_PATIENCE,
    Lifecycle,
    State,
)


def test_a_server_that_restarts_is_asked_again_while_patience_lasts() -> None:
    life = Lifecycle()
    assert life.begin(100.0)
    now, pauses = 100.0, []
    while (pause := life.failed(now)) is not None:
        pauses.append(round(pause, 9))
        now += pause
    assert pauses == [0.1, 0.2, 0.4, 0.8, 1.0, 1.0, 1.0]
    assert now <= 100.0 + OUTAGE_PATIENCE
    assert life.state is State.OUTAGE


def test_in_a_long_outage_each_request_makes_one_attempt() -> None:
    life = Lifecycle()
    life.begin(0.0)
    assert life.failed(OUTAGE_PATIENCE) is None
    for now in (6.0, 7.0, 1000.0):
        assert not life.begin(now)  # the same outage
        assert life.failed(now) is None


def test_patience_begins_anew_after_a_connection() -> None:
    life = Lifecycle()
    life.begin(0.0)
    life.failed(OUTAGE_PATIENCE)
    life.begin(50.0)
    life.connected()
    assert life.begin(60.0)
    assert life.failed(60.0) == FIRST_PAUSE


@pytest.mark.parametrize("end", [Lifecycle.refused, Lifecycle.given_up])
def test_a_refusal_ends_the_attempt_and_not_the_outage(end) -> None:
    life = Lifecycle()
    life.begin(0.0)
    end(life)
    assert life.state is State.OUTAGE
    assert not life.begin(1.0)
    assert life.failed(1.0) == FIRST_PAUSE  # still within the patience of the first attempt


def test_closed_is_for_good() -> None:
    life = Lifecycle()
    life.begin(0.0)
    life.close()
    life.close()
    life.connected()
    life.refused()
    life.given_up()
    assert life.failed(0.0) is None
    assert life.state is State.CLOSED
    with pytest.raises(ValueError, match="CLOSED"):
        life.begin(1.0)


@pytest.mark.parametrize("event", ["connected", "refused", "given_up"])
def test_what_no_attempt_has_brought_is_a_fault(event: str) -> None:
    with pytest.raises(ValueError, match="LIVE"):
        getattr(Lifecycle(), event)()


@given(st.lists(st.floats(0, 3), max_size=40))
def test_pauses_stay_within_their_bounds_and_end(steps: list[float]) -> None:
    life, now = Lifecycle(), 0.0
    life.begin(now)
    for step in steps:
        pause = life.failed(now)
        if pause is None:
            assert now + FIRST_PAUSE > OUTAGE_PATIENCE - LONGEST_PAUSE
            return
        assert FIRST_PAUSE <= pause <= LONGEST_PAUSE
        assert now + pause <= OUTAGE_PATIENCE
        now += max(pause, step)
