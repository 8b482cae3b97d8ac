from __future__ import annotations

import pytest
import trio
import trio.testing
from hypothesis import given
from hypothesis import strategies as st

from netfsfuse.netfs.memory.buffer import Buffer
from netfsfuse.netfs.memory.folio import TRANSITIONS, Folio, FolioState
from netfsfuse.types import CACHE_BLOCK

K = CACHE_BLOCK

LEGAL = {("filling", "clean"), ("filling", "void")}


class FakeFill:
    def __init__(self):
        self.hurried = 0

    def hurry(self):
        self.hurried += 1


def make(length=K):
    buffer = Buffer(K, lambda buffer: None)
    buffer.hold()
    return Folio(0, length, buffer)


def test_every_state_has_its_transitions():
    assert set(TRANSITIONS) == set(FolioState)


@given(st.lists(st.sampled_from(FolioState)))
def test_only_legal_transitions_are_made(wished):
    folio = make()
    for state in wished:
        before = folio.state
        if (before.value, state.value) in LEGAL:
            folio.become(state)
            assert folio.state is state
        else:
            with pytest.raises(RuntimeError, match="cannot become"):
                folio.become(state)
            assert folio.state is before


@pytest.mark.parametrize("error", [None, OSError("made up")])
async def test_a_failed_fill_wakes_the_readers_and_leaves_no_fill(error):
    folio = make()
    folio.start_fill(FakeFill())
    async with trio.open_nursery() as nursery:
        nursery.start_soon(folio.wait_settled)
        nursery.start_soon(folio.wait_settled)
        await trio.testing.wait_all_tasks_blocked()
        folio.failed(error)
    assert (folio.state, folio.error, folio.fill) == (FolioState.VOID, error, None)
    assert not folio.is_whole
    with pytest.raises(RuntimeError):
        folio.filled(K)


async def test_a_short_fill_is_readable_and_not_whole():
    folio = make()
    folio.start_fill(FakeFill())
    folio.filled(100)
    await folio.wait_settled()
    assert (folio.state, folio.valid, folio.is_whole) == (FolioState.CLEAN, 100, False)


def test_a_pin_hurries_only_a_fill_under_way_and_is_counted():
    folio, fill = make(), FakeFill()
    folio.start_fill(fill)
    folio.pin()
    assert (fill.hurried, folio.waiters, folio.buffer.references) == (1, 1, 3)
    folio.filled(K)
    folio.end_task()
    folio.pin()
    assert (fill.hurried, folio.waiters, folio.buffer.references) == (1, 2, 3)
    folio.unpin()
    folio.unpin()
    assert (folio.waiters, folio.buffer.references) == (0, 1)
