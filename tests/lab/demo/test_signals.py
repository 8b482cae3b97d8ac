"""The first ending signal becomes one exception; the clean-up is left alone."""

from __future__ import annotations

import signal

import pytest

from netfsfuse.lab.signals import Interrupted, Interruptible


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_first_signal_raises_and_the_second_is_ignored(number: signal.Signals) -> None:
    with Interruptible():
        with pytest.raises(Interrupted) as caught:
            signal.raise_signal(number)
        signal.raise_signal(number)
    assert caught.value.exit_status == 128 + number


def test_nothing_is_raised_once_held_and_handlers_come_back() -> None:
    before = signal.getsignal(signal.SIGTERM)
    with Interruptible() as signals:
        signals.hold()
        signal.raise_signal(signal.SIGTERM)
    assert signal.getsignal(signal.SIGTERM) is before


def test_nohup_is_respected() -> None:
    before = signal.signal(signal.SIGHUP, signal.SIG_IGN)
    try:
        with Interruptible():
            signal.raise_signal(signal.SIGHUP)
    finally:
        signal.signal(signal.SIGHUP, before)
