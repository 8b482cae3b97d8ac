"""The policy against links in virtual time: is the wire busy, and is the queue short?"""

from __future__ import annotations

from itertools import pairwise

import pytest

from netfsfuse.netfs.readahead import AheadConfig
from tests.netfs.readahead.simulation import GIB, KIB, MIB, Handle, Reader, World

MILLISECOND = 1e-3
READERS = {
    "kernel": {"size": MIB, "depth": 4, "disorder": 3},
    "one at a time": {"size": 128 * KIB, "depth": 1, "disorder": 0},
    "small kernel reads": {"size": 128 * KIB, "depth": 32, "disorder": 8},
}


def copy(world, total, **how):
    """One program reads a cold file; its throughput in bytes/s."""
    handle = Handle(world, total)
    reader = Reader(handle, total=total, **how)
    world.run()
    handle.streams.close()
    return reader.throughput


def steady(world, seconds, **how):
    """Throughput after ``seconds`` for another ``seconds``, and the handle, still being read."""
    handle = Handle(world, 1 << 50)
    reader = Reader(handle, total=1 << 49, **how)
    world.run(until=world.now + seconds)
    before = reader.consumed
    world.run(until=world.now + seconds)
    return (reader.consumed - before) / seconds, handle


@pytest.mark.parametrize("how", READERS.values(), ids=READERS)
@pytest.mark.parametrize("round_trip", [0.5, 1, 10, 50, 200])
@pytest.mark.parametrize("rate", [30e6, 125e6, 500e6, 1000e6])
def test_the_link_is_full(round_trip, rate, how):
    round_trip *= MILLISECOND
    config = AheadConfig()
    world = World(round_trip=round_trip, rate=rate, config=config)
    throughput, _ = steady(world, max(0.5, 20 * round_trip), **how)
    assert throughput >= 0.9 * min(rate, config.rasize / (round_trip + 2 * MILLISECOND))


@pytest.mark.parametrize("round_trip", [0.5, 10, 50])
@pytest.mark.parametrize("rate", [30e6, 125e6, 500e6, 1000e6])
def test_the_link_is_full_in_spite_of_noise(round_trip, rate):
    round_trip *= MILLISECOND
    world = World(round_trip=round_trip, rate=rate, noise=MILLISECOND)
    throughput, _ = steady(world, max(0.5, 20 * round_trip), **READERS["kernel"])
    assert throughput >= 0.9 * rate


@pytest.mark.parametrize(
    ("round_trip", "rate", "least", "most"),
    [
        (0.5, 1000e6, 3 * MIB, 6 * MIB),
        (1, 2000e6, 3 * MIB, 8 * MIB),
        (50, 700e6, 36 * MIB, 50 * MIB),
        (0, 117e6, 512 * KIB, 1.25 * MIB),
        (50, 117e6, 6 * MIB, 9 * MIB),
    ],
)
def test_the_window_settles_at_the_product_and_a_little(round_trip, rate, least, most):
    world = World(round_trip=round_trip * MILLISECOND, rate=rate)
    steady(world, 2.0, **READERS["one at a time"])
    assert world.link.known
    assert least <= world.link.window <= most


@pytest.mark.parametrize("rate", [30e6, 125e6, 1000e6])
def test_somebody_elses_small_read_does_not_wait_long(rate):
    world = World(round_trip=0.5 * MILLISECOND, rate=rate)
    _, handle = steady(world, 1.0, **READERS["one at a time"])
    world.queue_peak = 0.0
    world.run(until=world.now + 1.0)
    assert handle.waits
    assert world.queue_peak < 20 * MILLISECOND


def test_one_gib_over_fifty_milliseconds():
    world = World(round_trip=0.05, rate=600e6)
    first = copy(world, GIB, **READERS["kernel"])
    second = copy(world, GIB, **READERS["kernel"])
    assert first >= 0.85 * 600e6
    assert second >= 0.93 * 600e6


def test_the_link_is_full_after_six_round_trips():
    world = World(round_trip=0.05, rate=700e6)
    handle = Handle(world, GIB)
    reader = Reader(handle, total=GIB, **READERS["kernel"])
    consumed = []
    for _ in range(9):
        world.run(until=world.now + 0.05)
        consumed.append(reader.consumed)
    steps = [after - before for before, after in pairwise(consumed)]
    assert steps[:5] == sorted(steps[:5])
    assert min(steps[5:]) >= 0.9 * 700e6 * 0.05


@pytest.mark.parametrize("known", [False, True])
@pytest.mark.parametrize(("round_trip", "most"), [(1, 2 * MIB), (10, 4 * MIB)])
def test_a_slow_reader_ends_with_a_small_window(round_trip, most, known):
    world = World(round_trip=round_trip * MILLISECOND, rate=1000e6)
    if known:
        copy(world, 512 * MIB, size=MIB)
        assert world.link.known
    throughput, handle = steady(world, 2.0, size=128 * KIB, depth=1, speed=100e6)
    assert throughput >= 0.9 * 100e6
    assert handle.streams._last.window <= most
    waits = handle.waits
    world.run(until=world.now + 2.0)
    assert handle.waits == waits


def test_what_a_slow_reader_got_on_trial_it_gives_back():
    world = World(round_trip=50 * MILLISECOND, rate=1000e6)
    copy(world, GIB, size=MIB)
    assert world.link.window > 40 * MIB
    handle = Handle(world, 1 << 40)
    reader = Reader(handle, total=1 << 40, size=128 * KIB, depth=1, speed=100e6)
    world.run(until=world.now + 0.2)
    assert handle.streams._last.window > 40 * MIB
    world.run(until=world.now + 8.0)
    assert handle.streams._last.window <= 12 * MIB
    assert reader.throughput >= 0.9 * 100e6


def test_a_slow_reader_says_nothing_against_the_link():
    world = World(round_trip=10 * MILLISECOND, rate=1000e6)
    copy(world, 512 * MIB, size=MIB)
    window, rate = world.link.window, world.link.rate
    steady(world, 5.0, size=128 * KIB, depth=1, speed=50e6)
    assert world.link.rate == pytest.approx(rate, rel=0.05)
    assert world.link.window == pytest.approx(window, rel=0.2)


def test_eight_readers_get_equal_parts():
    world = World(round_trip=10 * MILLISECOND, rate=500e6)
    handles = [Handle(world, 1 << 40) for _ in range(8)]
    readers = [Reader(handle, total=1 << 40, depth=2) for handle in handles]
    world.run(until=4.0)
    parts = [reader.throughput for reader in readers]
    assert sum(parts) >= 0.9 * 500e6
    assert max(parts) <= 2 * min(parts)


def test_a_copy_beside_a_film_gets_nearly_all():
    world = World(round_trip=50 * MILLISECOND, rate=500e6)
    film = Reader(Handle(world, 1 << 40), total=1 << 40, size=128 * KIB, depth=1, speed=5e6)
    world.run(until=2.0)
    copying = Reader(Handle(world, 1 << 40), total=1 << 40, size=MIB)
    world.run(until=8.0)
    assert copying.throughput >= 0.85 * 495e6
    assert film.throughput >= 0.9 * 5e6


def test_a_long_read_does_not_take_its_own_queue_for_the_links_delay():
    world = World(round_trip=0.5 * MILLISECOND, rate=125e6)
    steady(world, 2.0, **READERS["one at a time"])
    early = world.link.window
    world.run(until=90.0)
    assert world.link.window <= early + MIB // 2
    assert world.link.round_trip <= 5 * MILLISECOND


def test_the_kernels_own_reads_widen_the_window_only_once():
    world = World(round_trip=20 * MILLISECOND, rate=50e6)
    steady(world, 30.0, **READERS["kernel"])
    assert world.link.window <= 6 * MIB


def test_the_window_follows_a_link_that_becomes_slower_and_faster():
    world = World(round_trip=20 * MILLISECOND, rate=500e6)
    steady(world, 1.5, **READERS["one at a time"])
    wide = world.link.window
    world.rate = 50e6
    world.run(until=world.now + 8.0)
    narrow = world.link.window
    assert narrow <= 4 * MIB < 10 * MIB <= wide
    world.rate = 500e6
    world.run(until=world.now + 8.0)
    assert world.link.window >= 0.8 * wide


def test_fewer_credits_shrink_the_window_at_once():
    world = World(round_trip=50 * MILLISECOND, rate=500e6)
    _, handle = steady(world, 1.0, **READERS["one at a time"])
    assert world.link.window > 20 * MIB
    world.link.limit = MIB
    assert world.link.window == MIB
    assert world.link.shares.granted <= MIB
    world.run(until=world.now + 0.2)
    assert world.link.in_flight <= MIB + 128 * KIB
    world.link.limit = 64 * MIB
    world.run(until=world.now + 1.0)
    assert world.link.in_flight > 20 * MIB
    assert handle.waits


def test_a_pinned_window_is_not_measured():
    config = AheadConfig(rsize=4 * MIB, rasize=64 * MIB, fixed_rsize=True, pinned=16 * MIB)
    world = World(round_trip=10 * MILLISECOND, rate=500e6, config=config)
    steady(world, 1.0, **READERS["one at a time"])
    assert world.link.window == 16 * MIB
    assert world.link.request_size() == 4 * MIB
    assert 12 * MIB <= world.link.in_flight <= 17 * MIB
