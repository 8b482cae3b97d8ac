"""The alarm that interrupts a read of nothing."""

from __future__ import annotations

import os

import pytest
from hypothesis import given
from hypothesis import strategies as st

from netfsfuse.fuse.readable import Alarm, FuseReadable


class Timer:
    """What the alarm has set."""

    def __init__(self) -> None:
        self.calls: list[float] = []

    def __call__(self, seconds: float) -> None:
        self.calls.append(seconds)

    @property
    def runs(self) -> bool:
        """Whether it would ring."""
        return bool(self.calls and self.calls[-1])


def test_set_once_for_many_reads_and_ended_between_two() -> None:
    timer = Timer()
    alarm = Alarm(timer)
    for _ in range(5):
        alarm.arm()
        alarm.is_reading = False
    assert timer.calls == [pytest.approx(0.1)]
    alarm.arm()
    alarm.ring()
    alarm.ring()
    assert timer.runs
    alarm.is_reading = False
    alarm.ring()
    assert timer.calls == [pytest.approx(0.1), 0]


@given(st.lists(st.sampled_from(["arm", "over", "ring"])))
def test_it_runs_throughout_each_read(steps: list[str]) -> None:
    """However often it rings before the read begins to block, and it ends behind the last one."""
    timer = Timer()
    alarm = Alarm(timer)
    reading = False
    for step in [*steps, "over", "ring"]:
        if step == "arm":
            alarm.arm()
            reading = True
        elif step == "over":
            alarm.is_reading = reading = False
        elif timer.runs:
            alarm.ring()
        assert timer.runs or not reading
    assert not timer.runs


def test_only_what_is_there_is_said_to_be_and_arms_the_alarm(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    timer = Timer()
    monkeypatch.setattr("netfsfuse.fuse.readable._set_timer", timer)
    reader, writer = os.pipe()
    try:
        readable = FuseReadable(reader)
        assert not readable.now()
        assert not timer.calls
        os.write(writer, b"x")
        assert readable.now()
        assert timer.runs
    finally:
        os.close(reader)
        os.close(writer)
