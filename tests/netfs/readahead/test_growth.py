"""How a stream's window answers to waits, and when its doubling is over."""

from __future__ import annotations

import pytest

from netfsfuse.netfs.readahead.growth import OPENING, Growth

MIB = 1024 * 1024


@pytest.mark.parametrize(
    ("calm_windows", "wish"), [(1, 2 * OPENING), (2, OPENING + MIB), (3, OPENING + MIB)]
)
def test_the_doubling_is_over_after_two_windows_without_a_wait(calm_windows, wish):
    growth = Growth(1)
    growth.open(OPENING, least=0, is_far=True)
    growth.grant(growth.wish)
    assert growth.window == OPENING
    growth.progress += calm_windows * OPENING
    assert not growth.went_on()
    assert growth.waited(MIB, known=False, most=64 * MIB)
    assert growth.wish == wish
