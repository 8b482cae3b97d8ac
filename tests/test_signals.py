"""What signals are taken for, in this process."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable, Iterator

import pytest
import trio
import trio.testing

from netfsfuse.signals import ENDING, follow_signals, ignore_the_others


@pytest.fixture(autouse=True)
def _as_before() -> Iterator[None]:
    before = {number: signal.getsignal(number) for number in signal.valid_signals()}
    yield
    for number, handler in before.items():
        if handler is not None and signal.getsignal(number) is not handler:
            signal.signal(number, handler)


async def told(number: int, hang_up: Callable[[], None] | None) -> list[str]:
    """What is called when the process is sent a signal, and then one that means an end."""
    calls: list[str] = []
    ended = trio.Event()

    def end() -> None:
        calls.append("end")
        ended.set()

    def on_hang_up() -> None:
        calls.append("hang up")

    async with trio.open_nursery() as nursery:
        nursery.start_soon(follow_signals, end, on_hang_up if hang_up else None)
        await trio.testing.wait_all_tasks_blocked()
        os.kill(os.getpid(), number)
        await trio.testing.wait_all_tasks_blocked(0.01)
        if not calls:
            os.kill(os.getpid(), signal.SIGTERM)
            await ended.wait()
            calls.append("at last")
        nursery.cancel_scope.cancel()
    return calls


@pytest.mark.parametrize("number", sorted(ENDING))
async def test_an_end(number: int) -> None:
    assert await told(number, None) == ["end"]


async def test_a_hang_up_is_an_end_but_where_it_has_a_meaning() -> None:
    assert await told(signal.SIGHUP, None) == ["end"]
    assert await told(signal.SIGHUP, lambda: None) == ["hang up"]


async def test_under_nohup_a_hang_up_is_none() -> None:
    signal.signal(signal.SIGHUP, signal.SIG_IGN)
    assert await told(signal.SIGHUP, None) == ["end", "at last"]


async def test_all_that_would_end_a_process_are_foreseen() -> None:
    """But those that tell of a crash, or cannot be held up."""
    ignore_the_others()
    crashes = {"ABRT", "BUS", "FPE", "ILL", "SEGV", "SYS", "TRAP", "KILL"}
    harmless = {"CHLD", "CONT", "URG", "WINCH", "STOP", "TSTP", "TTIN", "TTOU"}
    seen = {f"SIG{name}" for name in crashes | harmless | {"HUP"}}
    for number in signal.valid_signals() - ENDING:
        name = number.name if isinstance(number, signal.Signals) else ""
        assert name in seen or signal.getsignal(number) is signal.SIG_IGN, number
