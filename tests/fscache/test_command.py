"""``cache show`` shows the record's times to the microsecond, whenever they are."""

from __future__ import annotations

import pytest

from netfsfuse.fscache.command import describe
from netfsfuse.fscache.cookie import coherency_bytes
from netfsfuse.types import FileAttr


@pytest.mark.parametrize(
    ("ticks", "shown"),
    [
        (116_444_736_000_000_010, "1970-01-01T00:00:00.000001+00:00"),
        (116_302_906_600_000_019, "1969-07-20T20:17:40.000001+00:00"),
        (133_536_816_001_234_569, "2024-02-29T12:00:00.123456+00:00"),
        (10, "1601-01-01T00:00:00.000001+00:00"),
        (2**63, str(2**63)),
    ],
)
def test_dates(ticks: int, shown: str) -> None:
    lines = describe(coherency_bytes(FileAttr(7, 1, 1, ticks, 1, 3, 3, 0x20)))
    assert f"write {shown}" in lines
