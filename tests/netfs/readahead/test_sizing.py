from __future__ import annotations

import pytest

from netfsfuse.netfs.readahead import AheadConfig
from netfsfuse.netfs.readahead.sizing import RequestSize

KIB = 1024
MIB = 1024 * KIB


@pytest.mark.parametrize(
    ("rate", "size"),
    [
        (1e6, 64 * KIB),
        (30e6, 64 * KIB),
        (60e6, 64 * KIB),
        (117e6, 128 * KIB),
        (125e6, 128 * KIB),
        (195e6, 256 * KIB),
        (250e6, 2 * MIB),
        (450e6, 4 * MIB),
        (3e9, 4 * MIB),
    ],
)
def test_a_few_milliseconds_of_the_link(rate, size):
    requests = RequestSize(AheadConfig(rsize=4 * MIB))
    requests.update(rate, known=True)
    assert requests.current == size


def test_a_long_round_trip_carries_larger_ones():
    requests = RequestSize(AheadConfig(rsize=4 * MIB))
    requests.update(53e6, known=True, round_trip=0.05)
    assert requests.current == 256 * KIB
    requests.update(53e6, known=True, round_trip=0.001)
    assert requests.current == 64 * KIB


def test_before_anything_is_known():
    requests = RequestSize(AheadConfig())
    assert requests.current == 256 * KIB
    requests.update(1e6, known=False)  # one small read over a long link
    assert requests.current == 256 * KIB


def test_a_swing_of_a_fifth_changes_nothing():
    requests = RequestSize(AheadConfig())
    for rate in (125e6, 150e6, 110e6, 140e6, 105e6) * 3:
        requests.update(rate, known=True)
        assert requests.current == 128 * KIB


def test_a_large_read_is_not_taken_apart_unless_the_link_is_slow():
    requests = RequestSize(AheadConfig())
    assert requests.for_reads_of(MIB) == MIB
    assert requests.for_reads_of(600 * KIB) == MIB
    requests.update(125e6, known=True)
    assert requests.for_reads_of(MIB) == 128 * KIB
    requests.update(250e6, known=True)
    assert requests.for_reads_of(MIB) == MIB


@pytest.mark.parametrize("rsize", [64 * KIB, 192 * KIB, MIB, 3 * MIB])
def test_never_above_rsize(rsize):
    requests = RequestSize(AheadConfig(rsize=rsize))
    for rate in (1e6, 1e8, 1e9, 1e11):
        requests.update(rate, known=True)
        for read_size in (1, 128 * KIB, 8 * MIB):
            size = requests.for_reads_of(read_size)
            assert 64 * KIB <= size <= rsize
            assert size & (size - 1) == 0


def test_fixed_is_fixed():
    requests = RequestSize(AheadConfig(rsize=192 * KIB, fixed_rsize=True))
    for rate in (1e6, 1e10):
        requests.update(rate, known=True)
        assert requests.for_reads_of(MIB) == requests.for_reads_of(1) == 192 * KIB
