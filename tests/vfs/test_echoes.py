"""Echoes: our own changes are left out, another client's never are, whatever the order."""

from __future__ import annotations

from collections.abc import Sequence

import pytest
from hypothesis import given
from hypothesis import strategies as st

from netfsfuse.types import Change, ChangeKind
from netfsfuse.vfs.coherency.echoes import ECHO_SECONDS, MODIFIED_MOST, Echoes, Expected

CREATED, REMOVED, MODIFIED = ChangeKind.CREATED, ChangeKind.REMOVED, ChangeKind.MODIFIED
FROM, TO = ChangeKind.RENAMED_FROM, ChangeKind.RENAMED_TO


def test_what_one_change_echoes_is_left_out_once() -> None:
    echoes = Echoes()
    expected = echoes.expect("Name", [CREATED])
    told = [Change("name", CREATED), Change("name", MODIFIED)]
    assert echoes.sift(told[:1], 0.0) == ([], [])  # before the answer
    echoes.answered(expected, 0.5)
    assert echoes.sift(told[1:], 0.6) == ([], ["name"])
    assert echoes.sift(told[:1], 0.7) == (told[:1], [])


def test_other_names_are_others() -> None:
    echoes = Echoes()
    echoes.expect("a", [CREATED])
    told = [Change("b", CREATED), Change("b", MODIFIED)]
    assert echoes.sift(told, 0.0) == (told, [])


def test_nothing_is_expected_for_long() -> None:
    echoes = Echoes()
    echoes.answered(echoes.expect("a", [CREATED]), 10.0)
    late = [Change("a", CREATED)]
    assert echoes.sift(late, 10.0 + ECHO_SECONDS) == (late, [])
    echoes.answered(echoes.expect("a", [CREATED]), 20.0)
    assert echoes.sift(late, 20.0 + ECHO_SECONDS - 0.1) == ([], [])


def test_what_was_refused_echoes_nothing() -> None:
    echoes = Echoes()
    expected = echoes.expect("a", [REMOVED])
    told = [Change("a", REMOVED)]
    assert echoes.sift(told, 0.0) == ([], [])
    assert echoes.refused(expected) == told  # another client has removed it
    assert echoes.sift(told, 0.0) == (told, [])


def test_after_a_strange_name_nothing_of_it_is_expected() -> None:
    """We made it; another client removed it and made it anew, of which one part is told late."""
    echoes = Echoes()
    echoes.answered(echoes.expect("a", [CREATED]), 0.0)
    told = [Change("a", REMOVED), Change("a", CREATED), Change("a", MODIFIED)]
    assert echoes.sift(told, 0.0) == (told, [])


def test_modifications_are_counted() -> None:
    echoes = Echoes()
    echoes.answered(echoes.expect("a", [], modified=2), 0.0)
    told = [Change("a", MODIFIED)] * 3
    assert echoes.sift(told, 0.0) == (told[:1], ["a", "a"])
    echoes.answered(echoes.expect("a", []), 0.0)
    assert len(echoes.sift([Change("a", MODIFIED)] * 9, 0.0).doubtful) == MODIFIED_MOST


@pytest.mark.parametrize("how", ["answered", "refused", "told"])
def test_nothing_is_kept(how: str) -> None:
    echoes = Echoes()
    for number in range(1000):
        expected = echoes.expect(f"n{number}", [CREATED])
        if how == "answered":
            echoes.answered(expected, number / 100)
        elif how == "refused":
            echoes.refused(expected)
        else:
            echoes.sift([Change(f"n{number}", REMOVED)], 0.0)
            echoes.answered(expected, number / 100)
    echoes.sift([], 1e9)
    assert not echoes._expected
    assert not echoes._answered


def test_where_nothing_is_told_no_name_is_expected_but_what_is_written() -> None:
    echoes = Echoes()
    echoes.expect("a", [CREATED])
    echoes.unwatched()
    told = [Change("a", MODIFIED), Change("a", CREATED)]
    assert echoes.sift(told, 0.0) == (told[1:], ["a"])
    assert echoes.is_idle(0.0)


# Against a model: a server on which two clients change names, and which tells each change that was
# done exactly once, in order, and a modification any number of times behind it.

NAMES = ("a", "b")


@st.composite
def histories(draw: st.DrawFn) -> list[tuple[str, str, str]]:
    """Steps (client, call, name); calls that cannot be done are left out by the model."""
    step = st.tuples(
        st.sampled_from(["us", "other"]),
        st.sampled_from(["make", "remove", "modify", "refused"]),
        st.sampled_from(NAMES),
    )
    return draw(st.lists(step, max_size=30))


@given(histories(), st.data())
def test_anothers_change_of_a_name_is_never_left_out(
    history: list[tuple[str, str, str]], data: st.DataObject
) -> None:
    """Whatever is told when, before, between or behind our answers: once all is told, what is
    believed of each name, by our answers and what was told as others', is what is there, or the
    server is asked. ``None`` in ``believed``: it is asked."""
    echoes, now = Echoes(), 0.0
    there: set[str] = set()
    believed: dict[str, bool | None] = dict.fromkeys(NAMES, False)
    told: list[Change] = []
    under_way: list[tuple[Expected, str, bool | None]] = []
    told_since: set[str] = set()  # others' changes since ours was sent

    def hear(changes: Sequence[Change]) -> None:
        for change in echoes.sift(changes, now).others:
            believed[change.name] = None
            told_since.add(change.name)

    def answer() -> None:
        expected, name, outcome = under_way.pop()
        if outcome is None:
            for each in echoes.refused(expected):
                believed[each.name] = None
        else:
            echoes.answered(expected, now)
            believed[name] = None if name in told_since else outcome

    for client, call, name in history:
        now += 0.01
        done = call != "refused" and (name in there) != (call == "make")
        kinds = {"make": [CREATED], "remove": [REMOVED]}.get(call, [])
        if client == "us":
            if under_way:
                continue
            told_since.discard(name)
            outcome = call != "remove" if done else None
            under_way.append((echoes.expect(name, kinds), name, outcome))
        if done:
            (there.discard if call == "remove" else there.add)(name)
            told += [Change(name, kind) for kind in kinds]
            told += [Change(name, MODIFIED)] * data.draw(st.integers(0, 2))
        count = data.draw(st.integers(0, len(told)))
        hear(told[:count])
        del told[:count]
        if under_way and data.draw(st.booleans()):
            answer()
    if under_way:
        answer()
    hear(told)
    assert all(known is None or known == (name in there) for name, known in believed.items())
