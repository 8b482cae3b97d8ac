"""Against sets of bytes."""

from __future__ import annotations

from hypothesis import given, settings
from hypothesis import strategies as st

from cachefiles.extents import intersect, runs, whole_blocks

LIMIT = 60


def extents_of(members):
    found = []
    for number in sorted(members):
        if found and found[-1][1] == number:
            found[-1] = (found[-1][0], number + 1)
        else:
            found.append((number, number + 1))
    return found


def members_of(extents):
    return {number for start, end in extents for number in range(start, end)}


sets = st.sets(st.integers(0, LIMIT - 1))


@given(sets, sets)
@settings(deadline=None, max_examples=200)
def test_intersect(left, right):
    assert intersect(extents_of(left), extents_of(right)) == extents_of(left & right)


@given(sets, st.integers(1, 9), st.integers(0, LIMIT))
@settings(deadline=None, max_examples=200)
def test_whole_blocks(members, block, size):
    members = {number for number in members if number < size}
    whole = set()
    for start in range(0, size, block):
        one = set(range(start, min(start + block, size)))
        if one <= members:
            whole |= one
    assert members_of(whole_blocks(extents_of(members), block, size)) == whole


@given(st.integers(0, 5), st.lists(st.booleans(), max_size=20), st.integers(1, 7), st.data())
@settings(deadline=None, max_examples=200)
def test_runs(first, present, block, data):
    end = (first + len(present)) * block
    size = end - data.draw(st.integers(0, block - 1)) if present else end
    expected = {number for number in range(first * block, size) if present[number // block - first]}
    assert runs(first, present, block, size) == extents_of(expected)
