"""When pieces leave a wire: pure, with times given."""

from __future__ import annotations

import pytest

from netfsfuse.lab.link.wire import Wire


def test_a_piece_leaves_half_a_round_trip_after_it_came():
    wire = Wire(0.05, None)
    assert wire.enter(10.0, 4096) == pytest.approx(10.025)
    assert wire.enter(10.0, 1 << 20) == pytest.approx(10.025)


def test_with_a_rate_pieces_leave_one_after_the_other():
    wire = Wire(0.1, 1000.0)
    assert wire.enter(0.0, 500) == pytest.approx(0.55)
    assert wire.enter(0.0, 500) == pytest.approx(1.05)


def test_a_pause_is_not_made_up_for():
    wire = Wire(0.0, 1000.0)
    wire.enter(0.0, 500)
    assert wire.enter(10.0, 500) == pytest.approx(10.5)


def test_the_end_keeps_its_turn():
    wire = Wire(0.0, 1000.0)
    wire.enter(0.0, 500)
    assert wire.enter(0.0, 0) == pytest.approx(0.5)


@pytest.mark.parametrize(
    ("round_trip", "rate", "most"),
    [(0.0, 125e6, 256 * 1024), (0.05, 10e6, 1_000_000), (0.2, None, 256 << 20)],
)
def test_a_wire_is_full_at_its_bound(round_trip, rate, most):
    wire = Wire(round_trip, rate)
    wire.enter(0.0, most - 1)
    assert not wire.full
    wire.enter(0.0, 1)
    assert wire.full
    wire.leave(1)
    assert not wire.full


def test_the_queue_of_a_limited_wire_is_long_enough_to_keep_it_busy():
    wire = Wire(0.05, 10e6)
    departure = 0.0
    while not wire.full:
        departure = wire.enter(0.0, wire.piece)
    assert departure > 0.05 + 0.025  # what comes in after a round trip finds the wire still busy
