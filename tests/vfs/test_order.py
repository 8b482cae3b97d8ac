"""Who goes through a directory in which order, and what comes next."""

from __future__ import annotations

import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from netfsfuse.types import FileAttr
from netfsfuse.vfs.prefetch.order import RUN, SORTED_MAX, SORTINGS, Walk
from tests.vfs.fakes import file_attr


def directory(count: int = 40, seed: int = 1, spread: int = 1) -> dict[str, FileAttr]:
    """Three orders that have nothing to do with each other."""
    ids = random.Random(seed).sample(range(1000 * spread), count)
    names = [f"f{number:03}" for number in range(count)]
    random.Random(seed + 1).shuffle(names)
    return {name: file_attr(file_id) for name, file_id in zip(names, ids, strict=True)}


@pytest.mark.parametrize("which", range(len(SORTINGS)))
def test_each_order_is_found_out(which: int) -> None:
    attrs = directory()
    way = SORTINGS[which](attrs)
    walk = Walk(attrs)
    for place, name in enumerate(way):
        walk.use(name)
        if place >= 2 * RUN:
            assert walk.best == which
            assert list(walk.following()) == way[place + 1 :]


@pytest.mark.parametrize("which", range(len(SORTINGS)))
def test_the_order_of_the_directory_before_is_foreseen_at_once(which: int) -> None:
    attrs = directory()
    assert list(Walk(attrs, which).following()) == SORTINGS[which](attrs)


def test_some_may_be_left_out_and_used_twice() -> None:
    attrs = directory(100)
    way = list(attrs)
    walk = Walk(attrs)
    for place in (0, 1, 1, 0, 3, 4, 9, 8, 10):
        walk.use(way[place])
    assert walk.best == 0
    assert next(walk.following()) == way[11]


@given(st.lists(st.integers(0, 39), max_size=60), st.none() | st.integers(0, 2))
def test_any_uses(uses: list[int], sorting: int | None) -> None:
    """What follows is always made of names behind the one used last, each once."""
    attrs = directory()
    names = sorted(attrs)
    walk = Walk(attrs, sorting)
    for use in uses:
        walk.use(names[use])
        walk.use("no such name")
        following = list(walk.following())
        assert len(set(following)) == len(following)
        assert set(following) <= set(names)
        if walk.best is None:
            assert following == []


def test_of_very_many_names_the_listing_alone_is_foreseen() -> None:
    """Sorting them would hold up the loop."""
    attrs = directory(SORTED_MAX + 1, spread=10)
    walk = Walk(attrs)
    assert walk.best is None
    for name in list(attrs)[:4]:
        walk.use(name)
    assert walk.best == 0
    by_name = Walk(attrs, 1)
    assert list(by_name.following()) == []


def test_random_uses_foresee_little() -> None:
    attrs = directory(900)
    names = sorted(attrs)
    walk = Walk(attrs)
    rolled = random.Random(7)
    foreseen = 0
    for _ in range(300):
        walk.use(rolled.choice(names))
        foreseen += walk.best is not None
    assert foreseen < 15
