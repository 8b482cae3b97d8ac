"""Listings that were asked for before our own changes are put right, or given up."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from netfsfuse.types import FileAttr
from netfsfuse.vfs.inodes.inodes import Inode
from netfsfuse.vfs.tree import recent
from netfsfuse.vfs.tree.recent import REMEMBERED, RecentChanges
from tests.vfs.fakes import dir_attr, file_attr


def directory(number: int = 1) -> Inode:
    return Inode(number, None, "", dir_attr(number))


@given(
    st.lists(st.tuples(st.sampled_from("abc"), st.booleans()), max_size=20),
    st.integers(0, 20),
    st.data(),
)
def test_a_listing_shows_what_was_done_since_it_was_asked_for(
    changes: list[tuple[str, bool]], asked_before: int, data: st.DataObject
) -> None:
    """Whatever the listing showed of each name that was changed meanwhile."""
    changed, here = RecentChanges(), directory()
    there: dict[str, FileAttr] = {}
    listed: dict[str, FileAttr] = {}
    for index, (name, comes) in enumerate(changes):
        if index == asked_before:
            listed = dict(there)
        if comes:
            there[name] = file_attr(100 + index)
        else:
            there.pop(name, None)
        changed.note(here, name, there.get(name), float(index))
        if index >= asked_before and data.draw(st.booleans()):  # its page was made after that
            listed.pop(name, None)
            listed |= {name: there[name]} if name in there else {}
    if len(changes) <= asked_before:
        listed = dict(there)
    assert changed.put_right(here, listed, float(asked_before), 20.0)
    assert listed == there
    for name in "abc":
        gone = any(n == name for n, _ in changes[asked_before:]) and name not in there
        assert changed.is_gone(here, name, float(asked_before)) == gone


def test_a_listing_that_is_too_old_is_given_up() -> None:
    changed, here = RecentChanges(), directory()
    assert changed.put_right(here, {}, 0.0, REMEMBERED)
    assert not changed.put_right(here, {}, 0.0, REMEMBERED + 1)


def test_what_listings_show_otherwise_is_not_put_right() -> None:
    changed, here, other = RecentChanges(), directory(), directory(2)
    changed.note_unknown(here, 5.0)
    assert not changed.put_right(here, {}, 5.0, 6.0)
    assert changed.put_right(here, {}, 5.5, 6.0)
    assert changed.put_right(other, {}, 5.0, 6.0)


def test_no_more_is_remembered_than_may_be(monkeypatch) -> None:
    monkeypatch.setattr(recent, "MOST", 3)
    changed, here = RecentChanges(), directory()
    for number in range(5):
        changed.note(here, f"n{number}", None, float(number))
    assert not changed.put_right(here, {}, 1.0, 5.0)
    attrs = {f"n{number}": file_attr(number) for number in range(5)}
    assert changed.put_right(here, attrs, 1.5, 5.0)
    assert list(attrs) == ["n0", "n1"]


def test_directories_are_forgotten() -> None:
    changed = RecentChanges()
    for number in range(1000):
        changed.note(directory(number + 1), "n", None, float(number))
    assert len(changed._directories) == len(changed._last) <= REMEMBERED + 1
