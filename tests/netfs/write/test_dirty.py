"""Dirty folios against a model: which bytes are here, the newest of them, what may be sent."""

from __future__ import annotations

import random
from itertools import zip_longest

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    invariant,
    precondition,
    rule,
    run_state_machine_as_test,
)

from netfsfuse.errors import DiskFull
from netfsfuse.netfs.memory.buffer import Buffer
from netfsfuse.netfs.memory.pool import size_class
from netfsfuse.netfs.write.dirty import DirtyFolios, DirtyState, Ticket
from netfsfuse.types import CACHE_BLOCK

K = CACHE_BLOCK
SPAN = 9 * K
WSIZES = [K, 3 * K, 4 * K]


class Layer:
    """Some bytes of a file: ``mask`` says which."""

    def __init__(self):
        self.data = bytearray(SPAN)
        self.mask = bytearray(SPAN)

    def set(self, start, data):
        self.data[start : start + len(data)] = data
        self.mask[start : start + len(data)] = b"\x01" * len(data)

    def clear(self, start, end):
        self.data[start:end] = bytes(end - start)
        self.mask[start:end] = bytes(end - start)


def buffer(size):
    made = Buffer(size_class(size, 16 * K), lambda buffer: None)
    made.payload[:] = b"\xee" * made.capacity
    return made


def put(folios, start, data, now=0.0):
    """Write ``data`` as ``Writing`` does; the new folios."""
    view, made = memoryview(data), []
    while view:
        taken = folios.put(start, view)
        if not taken:
            capacity = folios.capacity_for(start, start + len(view))
            folio = folios.add(start, view, buffer(capacity), now)
            made.append(folio)
            taken = folio.end - start
        start += taken
        view = view[taken:]
    return made


offsets = st.one_of(
    st.integers(0, SPAN - 1),
    st.builds(
        lambda block, by: max(0, min(block * K + by, SPAN - 1)),
        st.integers(0, 9),
        st.integers(-2, 2),
    ),
)
lengths = st.one_of(
    st.integers(1, 5), st.integers(1, 5 * K), st.sampled_from([K - 1, K, K + 1, 4096, 4 * K])
)


class DirtyModel(RuleBasedStateMachine):
    """``dirty`` and ``sending``: the bytes in those states. ``watched``: folios with a ticket."""

    def __init__(self):
        super().__init__()
        self.dirty, self.sending = Layer(), Layer()
        self.random = random.Random(1)
        self.folios = DirtyFolios(self.random.choice(WSIZES))
        self.position = 0
        self.tickets = []

    def dirty_ones(self):
        return list(self.folios.dirty)

    def sent_ones(self):
        return self.folios.sending(0)

    @rule(wsize=st.sampled_from(WSIZES))
    @precondition(lambda self: not self.folios)
    def begin(self, wsize):
        self.folios = DirtyFolios(wsize)

    @rule(start=offsets, length=lengths, goes_on=st.booleans())
    def write(self, start, length, goes_on):
        if goes_on and self.position < SPAN:
            start = self.position
        data = self.random.randbytes(min(length, SPAN - start))
        sent = [(f, bytes(f.buffer.payload)) for f in self.sent_ones()]
        put(self.folios, start, data)
        self.dirty.set(start, data)
        self.position = start + len(data)
        for folio, before in sent:
            assert bytes(folio.buffer.payload) == before  # nothing in the buffer changes

    @precondition(lambda self: self.folios.sending(0))
    @rule(n=st.integers(0, 99), length=lengths)
    def write_over_what_is_under_way(self, n, length):
        self.write(self.sent_ones()[n % len(self.sent_ones())].start, length, False)

    @precondition(lambda self: self.folios.dirty)
    @rule(n=st.integers(0, 99))
    def send(self, n):
        folio = self.dirty_ones()[n % len(self.folios.dirty)]
        overlaps = any(self.sending.mask[folio.start : folio.end])
        assert self.folios.may_send(folio) is not overlaps
        if overlaps:
            with pytest.raises(RuntimeError):
                self.folios.send(folio)
            return
        self.folios.send(folio)
        data = self.dirty.data[folio.start : folio.end]
        assert all(self.dirty.mask[folio.start : folio.end])
        self.sending.set(folio.start, data)
        self.dirty.clear(folio.start, folio.end)

    @precondition(lambda self: self.folios.sending(0))
    @rule(n=st.integers(0, 99), failed=st.booleans())
    def answer(self, n, failed):
        folio = self.sent_ones()[n % len(self.sent_ones())]
        base = folio.base
        assert (
            folio.buffer.payload[folio.start - base : folio.end - base]
            == (self.sending.data[folio.start : folio.end])
        )
        self.sending.clear(folio.start, folio.end)
        error = DiskFull("made up") if failed else None
        self.folios.settle(folio, error)
        assert folio.state is DirtyState.GONE

    @precondition(lambda self: self.folios.sending(0))
    @rule(n=st.integers(0, 99), part=st.floats(0.01, 0.99))
    def short_answer(self, n, part):
        folio = self.sent_ones()[n % len(self.sent_ones())]
        at = folio.start + int(part * folio.length)
        if folio.start < at < folio.end:
            self.sending.clear(folio.start, at)
            self.folios.shorten(folio, at)

    @rule(size=offsets)
    def cut(self, size):
        if self.folios.sending(size):
            return
        gone = self.folios.cut(size)
        assert all(folio.start >= size and folio.state is DirtyState.GONE for folio in gone)
        self.dirty.clear(size, SPAN)

    @precondition(lambda self: self.folios)
    @rule(n=st.integers(0, 99))
    def watch(self, n):
        told = []
        ticket = Ticket()
        ticket.over = lambda: told.append(1)
        folios = list(self.folios)[n % 3 :: 2]
        for folio in folios * 2:
            ticket.watch(folio)
        self.tickets.append((ticket, folios, told))

    @rule(start=offsets, length=lengths)
    def find(self, start, length):
        end = min(start + length, SPAN)
        pieces = self.folios.find(start, end)
        assert self.folios.overlaps(start, end) is bool(pieces)
        position, found = start, Layer()
        for piece in pieces:
            assert position <= piece.start < piece.end <= end
            position = piece.end
            found.set(piece.start, piece.data)
        whole = self.overlay()
        assert found.data[start:end] == whole.data[start:end]
        assert found.mask[start:end] == whole.mask[start:end]

    def overlay(self):
        whole = Layer()
        for folio in self.sent_ones():
            whole.set(folio.start, self.sending.data[folio.start : folio.end])
        for folio in self.folios.dirty:
            whole.set(folio.start, self.dirty.data[folio.start : folio.end])
        return whole

    @invariant()
    def adds_up(self):
        for folios, layer in ((self.folios.dirty, self.dirty), (self.sent_ones(), self.sending)):
            mask = bytearray(SPAN)
            for folio, after in zip_longest(folios, folios[1:]):
                assert folio.base <= folio.start < folio.end <= folio.room <= folio.limit
                assert folio.base % K == 0
                assert after is None or folio.end <= after.start
                if folios is self.folios.dirty:
                    most = folio.limit if after is None else min(folio.limit, after.start)
                    assert folio.room == most
                mask[folio.start : folio.end] = b"\x01" * folio.length
            assert mask == layer.mask
        assert self.folios.size == sum(folio.length for folio in self.folios)
        assert self.folios.end == max((folio.end for folio in self.folios), default=0)
        last = self.folios.last
        assert last is None or last in self.folios.dirty

    @invariant()
    def tickets_are_told_once(self):
        for ticket, folios, told in self.tickets:
            left = [folio for folio in folios if folio.state is not DirtyState.GONE]
            assert ticket.left == len(left)
            assert len(told) == (0 if left else bool(folios))


def test_dirty_folios_are_as_their_model_says():
    chosen = settings(deadline=None, max_examples=200, stateful_step_count=50)
    run_state_machine_as_test(DirtyModel, settings=chosen)


def test_new_bytes_over_those_under_way_wait_in_another_folio():
    folios = DirtyFolios(K)
    (first,) = put(folios, 10, b"aaaa")
    folios.send(first)
    (second,) = put(folios, 12, b"bbbb")
    assert not folios.may_send(second)
    with pytest.raises(RuntimeError):
        folios.send(second)
    assert [bytes(piece.data) for piece in folios.find(0, 100)] == [b"aa", b"bbbb"]
    folios.settle(first, None)
    folios.send(second)
    assert [bytes(piece.data) for piece in folios.find(0, 100)] == [b"bbbb"]


@pytest.mark.parametrize(
    ("piece", "capacities"),
    [
        (4096, [1, 2, 4, 8, 16, 16, 16]),
        (K, [1, 2, 4, 8, 16, 16, 16]),
        (16 * K, [16, 16, 16]),
        (20 * K, [16, 16, 16]),
    ],
)
def test_a_run_gets_larger_folios(piece, capacities):
    folios = DirtyFolios(16 * K)
    made = []
    whole = memoryview(bytes(sum(capacities) * K))
    for start in range(0, len(whole), piece):
        made += put(folios, start, whole[start : start + piece])
    assert [(folio.limit - folio.base) // K for folio in made] == capacities
