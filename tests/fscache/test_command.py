"""``cache show`` shows the record's times to the microsecond, whenever they are."""

from __future__ import annotations

import pytest

from netfsfuse.fscache.command import describe
from netfsfuse.fscache.cookie import coherency_bytes
from netfsfuse.types import NO_TIME, FileAttr


@pytest.mark.parametrize(
    ("time", "shown"),
    [
        (1000, "1970-01-01T00:00:00.000001+00:00"),
        (-14_182_939_999_998_100, "1969-07-20T20:17:40.000001+00:00"),
        (1_709_208_000_123_456_900, "2024-02-29T12:00:00.123456+00:00"),
        (-11_644_473_599_999_999_000, "1601-01-01T00:00:00.000001+00:00"),
        (10**21, str(10**21)),
        (NO_TIME, "none"),
    ],
)
def test_dates(time: int, shown: str) -> None:
    lines = describe(coherency_bytes(FileAttr(7, 1, 1, time, 1, 3, 3, 0)))
    assert f"write {shown}" in lines
