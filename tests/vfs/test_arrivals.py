"""Numbers are gone through in steps while inodes come and go."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from netfsfuse.stats import VfsStats
from netfsfuse.vfs.inodes import arrivals as arrivals_module
from netfsfuse.vfs.inodes.arrivals import Arrivals
from netfsfuse.vfs.inodes.inodes import Inode, InodeTable
from tests.vfs.fakes import dir_attr, file_attr

CHANGE = st.tuples(st.booleans(), st.integers(0, 12))


@given(st.lists(CHANGE), st.integers(1, 4), st.lists(st.lists(CHANGE, max_size=30), max_size=20))
def test_all_that_stay_are_seen(
    before: list[tuple[bool, int]], size: int, between: list[list[tuple[bool, int]]]
) -> None:
    """Against a set: what is there from the first step to the last comes, whatever changes."""
    alive: set[int] = set()
    stayed: set[int] = set()
    arrivals = Arrivals()

    def change(changes: list[tuple[bool, int]]) -> None:
        for comes, number in changes:
            if not comes:
                alive.discard(number)
                stayed.discard(number)
            elif number not in alive:
                alive.add(number)
                arrivals.add(number, alive)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(arrivals_module, "SLACK", 2)
        change(before)
        stayed |= alive
        seen: list[int] = []
        pending = iter(between)
        for step in arrivals.steps(size):
            assert 0 < len(step) <= size
            seen += step
            change(next(pending, []))
    assert stayed <= set(seen)


def test_what_is_left_over_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(arrivals_module, "SLACK", 10)
    arrivals, alive = Arrivals(), {0}
    for number in range(1000):
        alive = {number}
        arrivals.add(number, alive)
        assert len(arrivals) <= 2 * len(alive) + 10
    assert 999 in [number for step in arrivals.steps(5) for number in step]


def test_a_table_that_has_become_small_keeps_few_numbers() -> None:
    inodes = InodeTable(dir_attr(1), VfsStats())
    for number in range(2, 10_000):
        inodes.add(Inode(number, inodes.root, str(number), file_attr(number))).nlookup = 1
    for number in range(2, 9_990):
        inodes.forget(number, 1)
    kept = [number for step in inodes.numbers(1000) for number in step]
    assert set(kept) >= {1, *range(9_990, 10_000)}
    assert len(kept) < 3000
