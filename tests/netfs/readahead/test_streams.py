"""Patterns of reading, told apart, and what each gets."""

from __future__ import annotations

import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from netfsfuse.netfs.readahead import AheadConfig, Link, Pattern, Streams
from netfsfuse.types import CACHE_BLOCK, ByteRange
from tests.netfs.readahead.simulation import KIB, MIB, Handle, World

HUGE = 1 << 40


@pytest.fixture
def link():
    return Link(AheadConfig())


@pytest.fixture
def streams(link):
    return Streams(AheadConfig(), link)


def wanted(streams, start, size, i_size=HUGE, now=0.0):
    return sum(part.length for part in streams.on_read(start, size, i_size, now).wanted)


def play(positions, size, *, i_size=1 << 34, round_trip=1e-3, pause=1e-3):
    """A program that makes these reads one after the other; the handle tells how it fared."""
    world = World(round_trip=round_trip, rate=500e6)
    handle = Handle(world, i_size)
    left = iter(positions)

    def following():
        position = next(left, None)
        if position is not None:
            handle.read(position, size, lambda: world.at(world.now + pause, following))

    following()
    world.run()
    return handle


@pytest.mark.parametrize("size", [4 * KIB, 128 * KIB, MIB])
def test_head_costs_nothing(streams, size):
    answer = streams.on_read(0, size, HUGE, 0.0)
    more = streams.waited(0.0)
    assert not answer.wanted
    assert not more.wanted
    assert streams.pattern is Pattern.FIRST


@pytest.mark.parametrize("size", [64 * KIB, 128 * KIB, MIB])
def test_the_second_read_that_follows_on_opens_a_window(streams, size):
    streams.on_read(0, size, HUGE, 0.0)
    answer = streams.on_read(size, size, HUGE, 0.0)
    assert answer.wanted[0].start == 2 * size
    assert sum(part.length for part in answer.wanted) <= 2 * MIB
    assert streams.pattern is Pattern.SEQUENTIAL


def test_a_reader_of_small_pieces_gets_little_until_it_goes_on(streams):
    sums = [wanted(streams, n * 4096, 4096) for n in range(512)]
    assert sum(sums[:4]) <= CACHE_BLOCK
    assert sum(sums[:32]) <= MIB
    assert sum(sums) >= 2 * MIB


def test_reads_that_hit_do_not_widen_the_window(streams):
    for n in range(400):
        streams.on_read(n * 128 * KIB, 128 * KIB, HUGE, n * 1e-3)
    assert streams._current.window == 2 * MIB


def test_a_read_that_waits_brings_more_at_once(streams):
    for n in range(17):
        streams.on_read(n * 128 * KIB, 128 * KIB, HUGE, 0.0)
    more = streams.waited(0.0)
    assert sum(part.length for part in more.wanted) == 2 * MIB


def test_after_a_calm_window_a_wait_adds_one_request(streams, link):
    for n in range(100):
        streams.on_read(n * 128 * KIB, 128 * KIB, HUGE, n * 1e-3)
    streams.waited(0.1)
    assert streams._current.window == 2 * MIB + link.request_size(128 * KIB)


def test_requests_coincide_with_the_kernels(streams):
    streams.on_read(0, 512 * KIB, HUGE, 0.0)
    for n in range(8):
        answer = streams.on_read(512 * KIB + n * MIB, MIB, HUGE, 0.0)
        assert answer.request_size == MIB
        assert answer.phase == 512 * KIB
        for part in answer.wanted:
            assert (part.start - 512 * KIB) % MIB == 0


@pytest.mark.parametrize("size", [4 * KIB, 64 * KIB, MIB])
@pytest.mark.parametrize("seed", range(5))
def test_random_reads_get_nothing_ahead(size, seed):
    draw = random.Random(seed)
    span = 4096 * size
    handle = play([draw.randrange(0, span, size) for _ in range(2000)], size, i_size=1 << 34)
    allowed = 0 if size < CACHE_BLOCK else 4 * MIB  # two large neighbours at the very beginning
    assert handle.ahead <= allowed
    assert handle.streams.pattern is Pattern.RANDOM


def test_one_accidental_neighbour_gets_nothing(streams):
    draw = random.Random(3)
    for _ in range(50):
        streams.on_read(draw.randrange(0, HUGE, 4096), 4096, HUGE, 0.0)
    position = draw.randrange(0, HUGE, 4096)
    assert not wanted(streams, position, 4096)
    assert not wanted(streams, position + 4096, 4096)
    assert not wanted(streams, position + 8192, 4096)


@pytest.mark.parametrize("order", [[0, 2, 1, 3, 5, 4, 7, 6], [0, 3, 2, 1, 4, 7, 6, 5]])
@pytest.mark.parametrize("size", [128 * KIB, MIB])
def test_disorder_is_not_a_seek(streams, order, size):
    for turn in range(10):
        for place in order:
            answer = streams.on_read((turn * len(order) + place) * size, size, HUGE, 0.0)
            assert not answer.forgotten
            assert streams.pattern in (Pattern.SEQUENTIAL, Pattern.FIRST)


@given(
    groups=st.lists(st.permutations(range(8)), min_size=4, max_size=12),
    size=st.sampled_from([128 * KIB, 256 * KIB]),
)
def test_no_order_of_the_kernels_readahead_is_a_stride(groups, size):
    link = Link(AheadConfig())
    streams = Streams(AheadConfig(), link)
    read, asked = set(), set()
    for n in range(8):
        streams.on_read(n * size, size, HUGE, 0.0)
    for number, order in enumerate(groups, 1):
        for n in order:
            start = (8 * number + n) * size
            answer = streams.on_read(start, size, HUGE, 0.0)
            read.add(start // CACHE_BLOCK)
            assert not answer.forgotten
            for part in answer.wanted:
                blocks = set(range(part.start // CACHE_BLOCK, part.end // CACHE_BLOCK))
                assert not blocks & (read | asked), "asked for what was there"
                asked |= blocks


def test_a_long_run_does_not_hide_a_stride(streams):
    for n in range(1024):
        streams.on_read(n * MIB, MIB, HUGE, 0.0)
    for n in range(64):
        streams.on_read(1024 * MIB + n * 512 * KIB, 128 * KIB, HUGE, 0.0)
    assert streams.pattern is Pattern.STRIDED


def test_a_seek_forgets_the_window_and_the_way_back_finds_half_of_it(streams):
    for n in range(40):
        streams.on_read(n * MIB, MIB, HUGE, 0.0)
        streams.waited(0.0)
    run = streams._current
    before, asked, front = run.window, run.asked, run.front
    assert before >= 4 * MIB
    answer = streams.on_read(1 << 35, MIB, HUGE, 0.0)
    assert answer.forgotten == (ByteRange(front, asked),)
    assert run.window == 0
    streams.on_read(40 * MIB, MIB, HUGE, 0.0)
    assert streams._current is run
    assert 0 < run.window <= max(run.wish, before // 2)


@pytest.mark.parametrize("count", [2, 8])
def test_interleaved_readers_are_each_read_ahead(count):
    positions = [lane * (1 << 30) + n * 128 * KIB for n in range(200) for lane in range(count)]
    handle = play(positions, 128 * KIB, pause=2e-3)
    assert handle.waits <= 0.1 * handle.reads
    assert handle.ahead + handle.demanded <= 1.3 * handle.reads * 128 * KIB + count * 4 * MIB


@pytest.mark.parametrize("stride", [256 * KIB, 10 * MIB, 1_000_003, -3 * MIB])
@pytest.mark.parametrize("size", [4 * KIB, 100_000])
def test_a_stride_is_followed(stride, size):
    start = 1 << 33 if stride < 0 else 12345
    handle = play([start + n * stride for n in range(500)], size, round_trip=10e-3)
    assert handle.waits <= 0.1 * handle.reads
    assert handle.streams.pattern is Pattern.STRIDED
    assert handle.ahead + handle.demanded <= 1.3 * handle.reads * (size + 2 * CACHE_BLOCK)


def test_a_stride_downwards_ends_at_the_beginning_of_the_file(streams):
    step = 3 * CACHE_BLOCK
    ranges, forgotten = [], ()
    for n in range(5, -1, -1):
        ranges += streams.on_read(n * step + 4096, 8192, HUGE, 0.0).wanted
    forgotten = streams.on_read(HUGE // 2, 8192, HUGE, 0.0).forgotten
    assert [part.start for part in ranges] == [step, 0]
    assert all(part.start >= 0 for part in forgotten)


def test_the_end_of_a_stride_forgets_its_pieces(streams):
    for n in range(6):
        streams.on_read(n * MIB, 4096, HUGE, 0.0)
    answer = streams.on_read(1 << 35, 4096, HUGE, 0.0)
    assert ByteRange(6 * MIB, 6 * MIB + CACHE_BLOCK) in answer.forgotten
    assert all(part.length == CACHE_BLOCK for part in answer.forgotten)


@pytest.mark.parametrize("size", [4 * KIB, 64 * KIB, MIB])
def test_backwards_is_followed(size):
    count = 1000 if size < MIB else 300
    handle = play([(1 << 33) - n * size for n in range(count)], size, pause=4e-3)
    assert handle.waits <= 0.1 * handle.reads + 3
    assert handle.streams.pattern is Pattern.BACKWARD
    assert handle.ahead + handle.demanded <= count * size + 8 * MIB


def test_backwards_ends_at_the_beginning_of_the_file(streams):
    ranges = []
    for n in range(32, -1, -1):
        ranges += streams.on_read(n * 64 * KIB, 64 * KIB, HUGE, 0.0).wanted
    assert min(part.start for part in ranges) == 0
    assert sum(part.length for part in ranges) == 29 * 64 * KIB


def test_what_is_refused_is_stated_again(streams):
    streams.on_read(0, MIB, HUGE, 0.0)
    answer = streams.on_read(MIB, MIB, HUGE, 0.0)
    middle = answer.wanted[0].start + MIB
    streams.refused(ByteRange(middle, answer.wanted[0].end))
    again = streams.on_read(2 * MIB, 64 * KIB, HUGE, 0.0)
    assert again.wanted[0].start == middle


def test_an_idle_stream_gives_its_share_back(link):
    paused, going = Streams(AheadConfig(), link), Streams(AheadConfig(), link)
    link.limit = 2 * MIB
    for n in range(20):
        paused.on_read(n * MIB, MIB, HUGE, 0.0)
    for n in range(20):
        going.on_read(n * MIB, MIB, HUGE, 0.5)
        going.waited(0.5)
    assert paused._current.window == going._current.window == MIB
    for n in range(20, 40):
        going.on_read(n * MIB, MIB, HUGE, 1.5)
        going.waited(1.5)
    assert paused._current.window == 0
    assert going._current.window == 2 * MIB
    paused.on_read(20 * MIB, MIB, HUGE, 1.6)
    assert paused._current.window > 0


def test_a_closed_handle_gives_its_share_back(streams, link):
    for n in range(20):
        streams.on_read(n * MIB, MIB, HUGE, 0.0)
    assert link.shares.granted
    streams.close()
    streams.close()
    assert not link.shares.granted


def test_the_window_ends_with_the_file(streams):
    i_size = 5 * MIB + 100
    answers = [streams.on_read(n * MIB, MIB, i_size, 0.0) for n in range(5)]
    ranges = [part for answer in answers for part in answer.wanted]
    assert ranges[-1].end == i_size
    assert sum(part.length for part in ranges) == i_size - 2 * MIB


def test_a_file_that_grows_is_read_on(streams):
    for n in range(4):
        streams.on_read(n * MIB, MIB, 4 * MIB, 0.0)
    assert wanted(streams, 4 * MIB, MIB, 100 * MIB) > 0
