"""Medians, spreads and ratios of paired rounds. Pure."""

from __future__ import annotations

import statistics
from collections.abc import Sequence
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Spread:
    """A median and what lies at either end."""

    median: float
    least: float
    most: float


def spread(values: Sequence[float]) -> Spread | None:
    """Of the values, or None of none."""
    if not values:
        return None
    return Spread(statistics.median(values), min(values), max(values))


def paired_ratio(ours: Sequence[float], theirs: Sequence[float]) -> Spread | None:
    """Median and ends of ours / theirs, round by round.

    The rounds of two contenders are run next to each other (A B A B), so what slows the machine
    down for a while slows both, and cancels out of a ratio but not out of a median.
    """
    return spread([a / b for a, b in zip(ours, theirs, strict=False) if b > 0])
