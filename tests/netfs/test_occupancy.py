from __future__ import annotations

from hypothesis import given, settings
from hypothesis import strategies as st

from netfsfuse.netfs.io.occupancy import MAX_SPANS, SPAN, SPAN_BLOCKS, OccupancyMap
from netfsfuse.types import CACHE_BLOCK, ByteRange

K = CACHE_BLOCK


def test_nothing_is_known_until_learned():
    occupancy = OccupancyMap()
    assert occupancy.unknown(ByteRange(0, SPAN + 1)) == [0, 1]
    assert not occupancy.is_stored(0)
    occupancy.learn(0, [ByteRange(0, K)])
    assert occupancy.unknown(ByteRange(0, SPAN + 1)) == [1]
    assert occupancy.is_known(SPAN_BLOCKS - 1)
    assert not occupancy.is_known(SPAN_BLOCKS)
    assert [occupancy.is_stored(n) for n in range(3)] == [True, False, False]


def test_a_short_last_block_counts():
    occupancy = OccupancyMap()
    occupancy.learn(0, [ByteRange(K, K + 5)])
    assert occupancy.is_stored(1)
    assert not occupancy.is_stored(2)


def test_what_is_stored_while_the_cache_is_asked_is_not_lost():
    occupancy = OccupancyMap()
    occupancy.asking(0)
    occupancy.note(3 * K, 4 * K, stored=True)
    occupancy.learn(0, [])
    assert occupancy.is_stored(3)


def test_memory_is_bounded():
    occupancy = OccupancyMap()
    for span in range(MAX_SPANS + 10):
        occupancy.learn(span, [])
    assert not occupancy.is_known(9 * SPAN_BLOCKS)
    assert occupancy.is_known(10 * SPAN_BLOCKS)
    assert len(occupancy.unknown(ByteRange(0, (MAX_SPANS + 10) * SPAN))) == 10


@settings(deadline=None, max_examples=100)
@given(
    notes=st.lists(
        st.tuples(
            st.integers(0, 3 * SPAN_BLOCKS - 1), st.integers(1, SPAN_BLOCKS + 90), st.booleans()
        ),
        max_size=20,
    ),
    first=st.sets(st.integers(0, 3 * SPAN_BLOCKS - 1), max_size=20),
)
def test_it_agrees_with_a_set(notes, first):
    occupancy = OccupancyMap()
    ranges = [ByteRange(block * K, (block + 1) * K) for block in sorted(first)]
    for span in range(3):
        occupancy.learn(span, ranges)
    model = set(first)
    for block, count, stored in notes:
        occupancy.note(block * K, (block + count) * K, stored=stored)
        touched = set(range(block, min(block + count, 3 * SPAN_BLOCKS)))
        model = model | touched if stored else model - touched
    assert {n for n in range(3 * SPAN_BLOCKS) if occupancy.is_stored(n)} == model
