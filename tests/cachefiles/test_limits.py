"""When to stop, when to cull and how far: against what the words mean."""

from __future__ import annotations

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from cachefiles.limits import MIB, Disk, Limits

percentages = st.lists(st.integers(0, 99), min_size=3, max_size=3, unique=True).map(sorted)
disks = st.tuples(
    st.integers(16 * MIB, 1 << 45), st.integers(0, 100), st.integers(0, 10**7), st.integers(0, 100)
).map(lambda d: Disk(d[0], d[0] * d[1] // 100, d[2], d[2] * d[3] // 100))


@st.composite
def limits(draw):
    (bstop, bcull, brun), (fstop, fcull, frun) = draw(percentages), draw(percentages)
    size = draw(st.none() | st.integers(MIB, 1 << 40))
    free = draw(st.just(0) | st.integers(0, 1 << 40))
    return Limits(brun, bcull, bstop, frun, fcull, fstop, size, free)


@given(limits(), disks, st.integers(0, 1 << 40))
def test_the_words_mean_what_they_say(limit, disk, used):
    room = limit.room(used, disk)
    assert room >= 0
    if room:
        assert (disk.available - room) * 100 >= limit.bstop * disk.total - 100
        assert disk.available - room >= limit.cachefree
        assert limit.cachesize is None or used + room <= limit.cachesize
    begins = limit.excess(used, disk, culling=False)
    goes_on = limit.excess(used, disk, culling=True)
    assert goes_on.bytes >= begins.bytes
    assert goes_on.files >= begins.files
    if disk.available * 100 < limit.bcull * disk.total - 100:
        assert begins
    if not room and not begins:  # stop lies below cull, for blocks and for files
        assert disk.files or limit.cachefree or limit.cachesize


@given(limits(), disks, st.integers(0, 1 << 40))
@example(Limits(2, 1, 0, 2, 1, 0), Disk(1 << 24, 1 << 23, files=1, files_available=0), 0)
def test_what_is_freed_is_enough(limit, disk, used):
    """With the excess gone there is none, and there is room for a batch."""
    excess = limit.excess(used, disk, culling=True)
    if excess.bytes > used or excess.bytes > disk.total - disk.available:
        return  # others took it: more than the cache has
    after = Disk(
        disk.total,
        disk.available + excess.bytes,
        disk.files,
        min(disk.files, disk.files_available + excess.files),
    )
    assert not limit.excess(used - excess.bytes, after, culling=True)
    assert limit.room(used - excess.bytes, after) > 0


@pytest.mark.parametrize(
    ("given", "line"),
    [
        ({"bstop": 5}, "bstop < bcull"),
        ({"brun": 5}, "not bstop=1 bcull=5 brun=5"),
        ({"frun": 100}, "frun < 100"),
        ({"cachesize": MIB - 1}, "1 MiB at least"),
    ],
)
def test_out_of_order(given, line):
    with pytest.raises(ValueError, match=line):
        Limits(**given)
