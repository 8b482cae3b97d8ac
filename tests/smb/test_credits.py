"""Credit arithmetic: never negative, nothing lost or made up, MessageIds without gap or repeat."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    precondition,
    rule,
)

from netfsfuse.smb.connection.credits import CREDIT_BYTES, CreditWindow, charge_for


@given(st.integers(0, 8 * 1024 * 1024))
def test_charge_covers_the_payload(payload: int) -> None:
    charge = charge_for(payload)
    assert charge >= 1
    assert charge * CREDIT_BYTES >= payload
    assert charge == 1 or (charge - 1) * CREDIT_BYTES < payload


class WindowMachine(RuleBasedStateMachine):
    """Any order of requests, interim and final replies, against a model of plain lists."""

    @initialize(start=st.integers(0, 50), first=st.integers(0, 2**40), ceiling=st.integers(1, 9000))
    def begin(self, start: int, first: int, ceiling: int) -> None:
        self.window = CreditWindow(available=start, next_message_id=first, ceiling=ceiling)
        self.first = first
        self.given = start
        self.under_way: list[int] = []
        self.used: list[int] = []

    @rule(charge=st.integers(1, 16), reserve=st.integers(0, 8))
    def request(self, charge: int, reserve: int) -> None:
        available = self.window.available
        if self.window.affords(charge, reserve):
            assert charge <= available
            assert available - charge >= reserve or not self.under_way
            message_id = self.window.take(charge)
            self.used += range(message_id, message_id + charge)
            self.under_way.append(charge)
            asked = self.window.ask(charge)
            assert charge <= asked <= 0xFFFF
            assert self.window.held + asked - charge <= max(self.window.ceiling, self.window.held)
        elif charge > available:
            with pytest.raises(ValueError, match="credits"):
                self.window.take(charge)

    @rule(credits=st.integers(0, 300))
    def interim(self, credits: int) -> None:
        self.window.grant(credits)
        self.given += credits

    @precondition(lambda self: getattr(self, "under_way", None))
    @rule(data=st.data(), credits=st.integers(0, 300))
    def final(self, data: st.DataObject, credits: int) -> None:
        charge = self.under_way.pop(data.draw(st.integers(0, len(self.under_way) - 1)))
        self.window.grant(credits)
        self.window.settle(charge)
        self.given += credits

    @invariant()
    def nothing_is_lost(self) -> None:
        if hasattr(self, "window"):
            assert self.window.available >= 0
            assert self.window.spent == sum(self.under_way)
            assert self.window.available == self.given - len(self.used)
            assert self.used == list(range(self.first, self.window.next_message_id))


TestWindow = WindowMachine.TestCase
