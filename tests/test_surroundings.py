"""Sleep is noticed."""

from __future__ import annotations

from netfsfuse.surroundings import Sleep


def test_sleep_is_noticed_once() -> None:
    slept = [100.0]
    sleep = Sleep(lambda: slept[0])
    assert not sleep.is_over()
    slept[0] += 0.001
    assert not sleep.is_over()
    slept[0] += 3600
    assert sleep.is_over()
    assert not sleep.is_over()
