"""The time budget: every cell a round while there is time, the whole run in time."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from netfsfuse.lab.bench.pace import Pace


def rounds_of(pace: Pace, cells: list[float], most: int) -> tuple[list[int], float]:
    """Play cells whose rounds take so many seconds; rounds of each, and when it ended."""
    now, counts = 0.0, []
    for seconds in cells:
        counts.append(0)
        if not pace.begin_cell(now):
            continue
        while True:
            now += seconds
            counts[-1] += 1
            if counts[-1] == most or not pace.another_round(now):
                break
    return counts, now


def test_all_rounds_where_there_is_time() -> None:
    assert rounds_of(Pace(0, 100, [1, 1]), [2, 2], 5) == ([5, 5], 20)


def test_time_is_shared_by_weight_and_the_rest_handed_on() -> None:
    assert rounds_of(Pace(0, 40, [1, 3]), [5, 5], 9)[0] == [2, 6]
    assert rounds_of(Pace(0, 40, [1, 1]), [1, 5], 4)[0] == [4, 4]


def test_a_slow_cell_costs_the_others_rounds_but_not_their_first() -> None:
    counts, _ = rounds_of(Pace(0, 60, [1, 1, 1]), [30, 5, 5], 5)
    assert counts == [1, 3, 3]


def test_nothing_begins_after_the_end() -> None:
    assert rounds_of(Pace(0, 10, [1, 1, 1]), [20, 5, 5], 5)[0] == [1, 0, 0]


@given(
    st.lists(st.tuples(st.floats(0.1, 20), st.floats(0.1, 30)), min_size=1, max_size=20),
    st.floats(10, 500),
)
def test_the_end_is_passed_by_first_rounds_only(
    cells: list[tuple[float, float]], seconds: float
) -> None:
    weights, rounds = [w for w, _ in cells], [r for _, r in cells]
    counts, ended = rounds_of(Pace(0, seconds, weights), rounds, 99)
    assert counts[0] >= 1
    assert ended <= seconds + max(rounds) + 1e-6
