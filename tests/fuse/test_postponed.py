"""What is told late: never within the pause behind an open, and always in the end."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from netfsfuse.fuse import postponed as postponed_module
from netfsfuse.fuse.postponed import PAUSE, LateNews, Postponed


def test_due_once_the_pause_is_over_in_the_order_of_the_news() -> None:
    late = Postponed()
    assert late.next_due is None
    assert late.put(2, 0.0, attributes=True, pages=False)
    assert late.put(1, 0.01, attributes=False, pages=True)
    assert late.put(2, 0.05, attributes=False, pages=True)  # not put off again
    assert late.next_due == PAUSE
    assert late.take(PAUSE - 0.001) == []
    assert late.take(0.01 + PAUSE) == [
        LateNews(2, True, True, PAUSE),
        LateNews(1, False, True, 0.01 + PAUSE),
    ]
    assert late.next_due is None


def test_an_open_renews_for_a_pause() -> None:
    late = Postponed()
    assert not late.is_fresh(1, 0.0)
    late.renewed(1, 0.0)
    assert late.is_fresh(1, 0.0)
    assert late.is_fresh(1, PAUSE - 0.001)
    assert not late.is_fresh(1, PAUSE)
    assert not late.is_fresh(2, 0.0)


def test_there_is_a_bound_and_opens_are_forgotten(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(postponed_module, "POSTPONED_MAX", 2)
    late = Postponed()
    taken = [late.put(number, 0.0, attributes=True, pages=True) for number in (1, 2, 3, 1)]
    assert taken == [True, True, False, True]
    for number in range(100):
        late.renewed(number, number * 0.6 * PAUSE)
    assert len(late._renewed) == 2


NEWS, OPEN, WAIT = range(3)


@given(st.lists(st.tuples(st.integers(NEWS, WAIT), st.integers(1, 3), st.booleans())))
def test_what_is_told_against_a_model(steps: list[tuple[int, int, bool]]) -> None:
    """Nothing is lost: after each piece of news its inode is told or renewed within a pause; and
    nothing is told within a pause behind an open that came after its news."""
    late, now = Postponed(), 0.0
    owed: dict[int, tuple[float, bool]] = {}  # number -> when the first news came, of pages too
    opened: dict[int, float] = {}
    for what, number, pages in [*steps, *[(WAIT, 3, False)] * 2]:
        if what == NEWS:
            late.put(number, now, attributes=True, pages=pages)
            first, before = owed.get(number, (now, False))
            owed[number] = first, pages or before
        elif what == OPEN:
            late.renewed(number, now)
            owed.pop(number, None)
            opened[number] = now
        else:
            for _ in range(number):
                now += 0.3 * PAUSE  # never a whole pause
                for each in late.take(now):
                    first, was_pages = owed.pop(each.number)
                    assert each.pages == was_pages
                    assert now >= first + PAUSE
                    assert now - opened.get(each.number, -1.0) >= PAUSE
        assert all(now < first + PAUSE for first, _ in owed.values())
        assert all(late.is_fresh(n, now) == (now - then < PAUSE) for n, then in opened.items())
    assert not owed
    assert late.next_due is None
