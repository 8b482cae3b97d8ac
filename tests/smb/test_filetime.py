"""Times of the wire as ns since 1970."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from netfsfuse.smb.wire.filetime import nanoseconds
from netfsfuse.types import NO_TIME

SIGNED = st.integers(-(2**63), 2**63 - 1)


@given(st.datetimes(datetime(1601, 1, 1, 1), datetime(9999, 12, 31)), st.integers(0, 9))
def test_a_date(when: datetime, fine: int) -> None:
    """Also of years before 1970, and beyond 2262, which 64 bits of ns do not reach."""
    ticks = (when - datetime(1601, 1, 1)) // timedelta(microseconds=1) * 10 + fine
    since = when.replace(tzinfo=UTC) - datetime(1970, 1, 1, tzinfo=UTC)
    assert nanoseconds(ticks) == since // timedelta(microseconds=1) * 1000 + fine * 100


@pytest.mark.parametrize(
    ("ticks", "time"),
    [
        (0, NO_TIME),
        (1, -11_644_473_599_999_999_900),
        (-1, -11_644_473_600_000_000_100),
        (116_444_736_000_000_000, 0),
    ],
)
def test_odd_ones(ticks: int, time: int) -> None:
    assert nanoseconds(ticks) == time


@given(SIGNED, SIGNED)
def test_order_is_kept_and_no_time_is_before_all(one: int, other: int) -> None:
    if one and other:
        assert (nanoseconds(one) < nanoseconds(other)) == (one < other)
        assert nanoseconds(one) > NO_TIME
    assert (nanoseconds(one) == nanoseconds(other)) == (one == other)
