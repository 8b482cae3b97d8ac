from __future__ import annotations

from hypothesis import given, settings
from hypothesis import strategies as st

from netfsfuse.netfs.readahead import ReadaheadConfig, ReadaheadWindow
from netfsfuse.types import ByteRange

KIB = 1024
MIB = 1024 * KIB
CONFIG = ReadaheadConfig(rsize=MIB, rasize=8 * MIB)
HUGE = 1 << 40


def test_the_first_read_fetches_only_itself():
    window = ReadaheadWindow(CONFIG)
    assert not window.on_read(0, 128 * KIB, HUGE)
    assert not window.sequential


def test_the_window_of_a_sequential_reader_doubles_to_rasize_and_stays():
    window = ReadaheadWindow(CONFIG)
    widths = []
    for n in range(40):
        ahead = window.on_read(n * 128 * KIB, 128 * KIB, HUGE)
        widths.append(ahead.end - ahead.start)
        assert ahead.start == (n + 1) * 128 * KIB
        assert ahead.end % MIB == 0 or not ahead
    assert widths[0] == 0
    assert 0 < widths[1] <= 2 * MIB
    assert all(8 * MIB <= width < 9 * MIB for width in widths[8:])


def test_a_one_mib_reader_has_eight_pieces_ahead_within_five_reads():
    window = ReadaheadWindow(CONFIG)
    ahead = [window.on_read(n * MIB, MIB, HUGE) for n in range(5)]
    assert [(a.end - a.start) // MIB for a in ahead] == [0, 2, 4, 8, 8]


def test_a_reader_of_small_pieces_must_show_that_it_goes_on():
    window = ReadaheadWindow(CONFIG)
    widths = [window.on_read(n * 4096, 4096, HUGE).length for n in range(32)]
    assert max(widths) <= MIB


def test_a_seek_closes_the_window():
    window = ReadaheadWindow(CONFIG)
    for n in range(10):
        window.on_read(n * MIB, MIB, HUGE)
    assert not window.on_read(500 * MIB, MIB, HUGE)
    assert not window.sequential
    assert 0 < window.on_read(501 * MIB, MIB, HUGE).length <= 3 * MIB


def test_out_of_order_reads_of_the_kernel_keep_the_run():
    window = ReadaheadWindow(CONFIG)
    order = [0, 2, 1, 3, 5, 4, 7, 6, 8, 9, 11, 10]
    for n in order:
        ahead = window.on_read(n * 128 * KIB, 128 * KIB, HUGE)
        assert window.sequential or n == 0
    assert ahead.length >= 8 * MIB


@settings(deadline=None, max_examples=200)
@given(
    rsize=st.sampled_from([64 * KIB, 192 * KIB, MIB]),
    rasize=st.sampled_from([0, 64 * KIB, 3 * MIB, 8 * MIB]),
    i_size=st.integers(1, 64 * MIB),
    reads=st.lists(
        st.tuples(st.integers(0, 64 * MIB), st.integers(1, 2 * MIB), st.booleans()), max_size=60
    ),
)
def test_the_wish_stays_within_bounds(rsize, rasize, i_size, reads):
    window = ReadaheadWindow(ReadaheadConfig(rsize=rsize, rasize=rasize))
    position = front = 0
    for start, size, follow in reads:
        if follow:
            start = position
        start = min(start, i_size - 1)
        size = min(size, i_size - start)
        position = start + size
        ahead = window.on_read(start, size, i_size)
        front = max(front, position) if window.sequential else position
        assert ahead.start == front
        assert ahead.start <= ahead.end <= max(i_size, front)
        assert ahead.end - ahead.start < rasize + rsize
        if ahead:
            assert window.sequential
            assert ahead.end == i_size or ahead.end % rsize == 0


@settings(deadline=None, max_examples=50)
@given(size=st.integers(512, 2 * MIB), start=st.integers(0, 100 * MIB))
def test_any_steady_reader_reaches_the_full_window(size, start):
    window = ReadaheadWindow(CONFIG)
    ahead = ByteRange(0, 0)
    for n in range(16 * 128 * KIB // size + 16):
        ahead = window.on_read(start + n * size, size, HUGE)
        if ahead.length >= 8 * MIB:
            return
    raise AssertionError(ahead)
