from __future__ import annotations

from types import SimpleNamespace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from netfsfuse.netfs.io.request import Source
from netfsfuse.netfs.io.slicing import Slice, expand, slice_range
from netfsfuse.types import CACHE_BLOCK, ByteRange

K = CACHE_BLOCK


def cut(start, end, *, i_size, size=4 * K, phase=0, cache_size=8 * K, resident=None, stored=()):
    folios = {block: SimpleNamespace(end=stop) for block, stop in (resident or {}).items()}
    return slice_range(
        ByteRange(start, end),
        i_size=i_size,
        request_size=size,
        phase=phase,
        cache_size=cache_size,
        resident=folios.get,
        stored=None if stored is None else lambda block: block in stored,
    )


@pytest.mark.parametrize(
    ("wanted", "i_size", "expected"),
    [
        ((0, 1), 10 * K, (0, K)),
        ((1, K + 1), 10 * K, (0, 2 * K)),
        ((K, 2 * K), 10 * K, (K, 2 * K)),
        ((K, 3 * K), 2 * K + 5, (K, 2 * K + 5)),
        ((K + 7, K + 8), K + 7, (K, K)),
        ((5 * K, 6 * K), K, (5 * K, 5 * K)),
        ((0, 10), 0, (0, 0)),
    ],
)
def test_expand_reaches_block_edges_and_stops_at_the_end_of_file(wanted, i_size, expected):
    assert expand(ByteRange(*wanted), i_size) == ByteRange(*expected)


def test_a_cold_range_is_cut_on_the_grid():
    assert cut(3 * K, 9 * K, i_size=20 * K, stored=None) == [
        Slice(Source.SERVER, 3 * K, K, "no cache"),
        Slice(Source.SERVER, 4 * K, 4 * K, "no cache"),
        Slice(Source.SERVER, 8 * K, K, "no cache"),
    ]


def test_the_grid_is_where_the_reader_is():
    slices = cut(3 * K, 13 * K, i_size=20 * K, phase=7 * K, stored={8, 9, 10, 11, 12})
    assert [(s.source, s.start // K, s.length // K) for s in slices] == [
        (Source.SERVER, 3, 4),
        (Source.SERVER, 7, 1),
        (Source.CACHE, 8, 5),
    ]


def test_every_source_in_one_read():
    slices = cut(0, 6 * K, i_size=5 * K + 9, resident={1: 3 * K, 2: 3 * K}, stored={3})
    assert [(s.source, s.start, s.length) for s in slices] == [
        (Source.SERVER, 0, K),
        (Source.MEMORY, K, 2 * K),
        (Source.CACHE, 3 * K, K),
        (Source.SERVER, 4 * K, K + 9),
        (Source.EOF, 5 * K + 9, K - 9),
    ]


@settings(deadline=None, max_examples=200)
@given(data=st.data())
def test_slices_cover_the_range_once_with_the_right_source(data):
    i_size = data.draw(st.integers(0, 40 * K))
    start = data.draw(st.integers(0, 45 * K))
    end = start + data.draw(st.integers(1, 20 * K))
    size = K * data.draw(st.integers(1, 7))
    cache_size = K * data.draw(st.integers(1, 7))
    phase = K * data.draw(st.integers(0, 50))
    blocks = -(-i_size // K)
    stored = data.draw(st.sets(st.integers(0, max(blocks - 1, 0))))
    # Resident subrequests: disjoint runs of blocks.
    resident: dict[int, int] = {}
    block = 0
    while block < blocks:
        block += data.draw(st.integers(0, 6))
        length = data.draw(st.integers(1, 5))
        stop = min((block + length) * K, i_size)
        for one in range(block, -(-stop // K)):
            resident[one] = stop
        block += length
    slices = cut(
        start,
        end,
        i_size=i_size,
        size=size,
        phase=phase,
        cache_size=cache_size,
        resident=resident,
        stored=stored,
    )
    position, stop = expand(ByteRange(start, end), i_size)
    for piece in slices:
        if piece.source is Source.EOF:
            assert piece is slices[-1]
            assert piece.start == max(start, i_size)
            assert piece.start + piece.length == end
            continue
        assert piece.start == position
        assert piece.length > 0
        position += piece.length
        touched = range(piece.start // K, -(-position // K))
        for one in touched:
            if piece.source is Source.MEMORY:
                assert position <= resident[one]
            else:
                assert one not in resident
                assert (one in stored) == (piece.source is Source.CACHE)
        if piece.source is not Source.MEMORY:
            assert piece.start % K == 0
            grid = cache_size if piece.source is Source.CACHE else size
            first, last = (piece.start - phase) // grid, (position - 1 - phase) // grid
            assert first == last, "crosses the grid"
            assert position % K == 0 or position == i_size
    assert position == stop
    assert (slices != [] and slices[-1].source is Source.EOF) == (end > i_size)
