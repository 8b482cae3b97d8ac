"""Medians and ratios."""

from __future__ import annotations

import pytest

from netfsfuse.lab.bench.spread import Spread, paired_ratio, spread


def test_spread() -> None:
    assert spread([3, 1, 10]) == Spread(3, 1, 10)
    assert spread([1, 2]) == Spread(1.5, 1, 2)
    assert spread([]) is None


def test_a_pair_cancels_what_slowed_both() -> None:
    """The machine halved its speed in the third round: every pair still says 2."""
    found = paired_ratio([400, 420, 200], [200, 210, 100])
    assert found == pytest.approx(Spread(2, 2, 2)) or found == Spread(2, 2, 2)


def test_only_whole_pairs_count() -> None:
    assert paired_ratio([4, 9], [2]) == Spread(2, 2, 2)
    assert paired_ratio([4], [0]) is None
    assert paired_ratio([], []) is None
