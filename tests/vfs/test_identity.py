"""Decisions about sameness: same_content, derived creation times, inode numbers, settling."""

from __future__ import annotations

import math

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from netfsfuse.types import FileAttr, ServerTime, coherency_of, creation_is_derived, same_content
from netfsfuse.vfs.inodes.identity import (
    Sight,
    inode_number,
    is_settled,
    is_sound_end,
    surely_same_file,
)
from tests.vfs.fakes import NOW, dir_attr, file_attr, stamp

TIMES = st.integers(1, 2**40)
ATTRS = st.builds(
    FileAttr,
    file_id=st.integers(0, 2**64 - 1),
    creation=TIMES,
    access=TIMES,
    write=TIMES,
    change=TIMES,
    size=TIMES,
    allocation=TIMES,
    flags=st.just(0),
)


@given(ATTRS, TIMES, TIMES, TIMES)
def test_access_time_and_allocation_say_nothing(
    attr: FileAttr, access: int, allocation: int, flags: int
) -> None:
    now = attr._replace(access=access, allocation=allocation, flags=flags)
    assert same_content(coherency_of(attr), now)


@pytest.mark.parametrize("member", ["file_id", "change", "write", "size"])
@given(attr=ATTRS)
def test_any_other_member_tells_of_a_change(member: str, attr: FileAttr) -> None:
    now = attr._replace(**{member: getattr(attr, member) + 1})
    assert not same_content(coherency_of(attr), now)
    assert not same_content(coherency_of(now), attr)


@given(ATTRS, TIMES)
def test_a_creation_time_of_its_own_tells_of_another_file(attr: FileAttr, creation: int) -> None:
    now = attr._replace(creation=creation)
    assume(creation != attr.creation and not creation_is_derived(now))
    assert not same_content(coherency_of(attr), now)


@given(ATTRS, TIMES)
def test_a_derived_creation_time_moves_when_somebody_reads(attr: FileAttr, access: int) -> None:
    """Samba without a stored creation time reports the least of the other three (FACTS.md)."""
    before = attr._replace(creation=min(attr.access, attr.write, attr.change))
    after = attr._replace(access=access, creation=min(access, attr.write, attr.change))
    assert same_content(coherency_of(before), after)
    assert surely_same_file(before, after)


@pytest.mark.parametrize("file_id", [0, 1, 2**64 - 1])
def test_numbers_that_mean_something_else_are_replaced(file_id: int) -> None:
    number = inode_number(file_attr(file_id), "a/b")
    assert number not in (0, 1, 2**64 - 1)
    assert number == inode_number(file_attr(file_id), "a/b")
    assert number >> 63 == 1


@given(st.integers(2, 2**64 - 2), st.text())
def test_a_file_id_is_the_number_whatever_the_path(file_id: int, path: str) -> None:
    assert inode_number(file_attr(file_id), path) == file_id


@given(st.text(st.characters(exclude_categories=()), max_size=50))
def test_a_server_without_file_ids_gets_numbers_by_path(path: str) -> None:
    assert 2**63 <= inode_number(file_attr(0), path) < 2**64
    assert inode_number(file_attr(0), path) != inode_number(file_attr(0), path + "x")


def test_a_directory_is_never_the_file_of_its_number() -> None:
    assert not surely_same_file(file_attr(7), dir_attr(7))
    assert surely_same_file(file_attr(7), file_attr(7, 100, age=1))
    assert not surely_same_file(file_attr(7), file_attr(7, born=1, age=0))


def clock(seconds: float = 0.0, *, measured: float = 0.0) -> ServerTime:
    return ServerTime(NOW + seconds, NOW + seconds, measured)


@pytest.mark.parametrize(("age", "settled"), [(0.01, False), (0.049, False), (0.06, True), (-5, 0)])
def test_settled_is_older_than_the_servers_tick(age: float, settled: bool) -> None:
    assert is_settled(file_attr(7, age=age), clock(), Sight()) == settled


@pytest.mark.parametrize(("age", "settled"), [(0.5, False), (1.9, False), (2.5, True)])
def test_whole_seconds_need_longer(age: float, settled: bool) -> None:
    second = stamp(0) // 10**9 * 10**9
    attr = file_attr(7)._replace(write=second, change=second)
    assert is_settled(attr, clock(age), Sight()) == settled
    assert is_settled(attr, clock(-5), Sight(lasting=age)) == settled


def test_only_the_sure_part_of_the_servers_clock_counts() -> None:
    unsure = ServerTime(NOW - 30.0, NOW + 30.0, measured=0.0)
    assert is_settled(file_attr(7, age=31), unsure, Sight())
    assert not is_settled(file_attr(7, age=29), unsure, Sight())
    assert not is_settled(file_attr(7, age=-31), unsure, Sight())
    assert is_settled(file_attr(7, age=-41), unsure, Sight())
    assert not is_settled(file_attr(7), ServerTime(-math.inf, math.inf, math.inf), Sight())


def test_what_is_dated_far_ahead_is_not_what_the_server_stamps() -> None:
    """A camera's clock. The write time alone may be ahead, where change times are the server's."""
    camera = file_attr(7, age=-86_400 * 30)
    assert is_settled(camera, clock(), Sight())
    assert is_settled(camera._replace(change=stamp(-60)), clock(), Sight())
    assert not is_settled(camera._replace(change=stamp(-0.01)), clock(), Sight())
    assert not is_settled(file_attr(7, age=-5), clock(), Sight())  # this may be its present


def test_a_server_whose_clock_was_set_forward() -> None:
    """All that changes now seems to lie ahead: nothing is believed of a clock read long ago, nor of
    times that we saw come; what has lasted is."""
    changed_now = file_attr(7, age=-3600)
    assert not is_settled(changed_now, clock(measured=3600), Sight())
    assert not is_settled(changed_now, clock(), Sight(moved=60))
    assert is_settled(changed_now, clock(measured=3600), Sight(lasting=1, moved=60))


def test_a_server_whose_clock_was_set_back() -> None:
    """What changes now claims to be old; not so where we have seen it otherwise since."""
    changed_now = file_attr(7, age=3600)
    assert not is_settled(changed_now, clock(), Sight(moved=60))
    assert is_settled(changed_now, clock(), Sight(moved=7200))
    assert is_settled(changed_now, clock(), Sight(lasting=1, moved=60))


@pytest.mark.parametrize(
    ("start", "size", "got", "stated", "direct", "sound"),
    [
        (0, 4096, 4096, 10_000, False, True),  # whole
        (8192, 4096, 1808, 10_000, False, True),  # the last page, and the kernel knows it
        (8192, 4096, 1807, 10_000, False, False),  # one byte before what was stated
        (0, 131_072, 10_000, 10_000, False, False),  # made when the file was stated larger
        (0, 131_072, 10_000, 10_000, True, True),  # a direct read asks for what it wants
        (0, 131_072, 9_999, 10_000, True, False),
        (0, 4096, 0, 0, False, False),  # nothing is read of an empty file
        (12_288, 4096, 0, 10_000, False, False),
    ],
)
def test_an_end_of_file_must_be_where_the_kernel_believes_it(
    start: int, size: int, got: int, stated: int, direct: bool, sound: bool
) -> None:
    """Or the kernel would show zeros for what it thinks is there."""
    assert is_sound_end(start, size, got, stated, direct=direct) is sound
