"""Programs are measured, and ended."""

from __future__ import annotations

import os
import signal
import sys
from pathlib import Path

import pytest

from netfsfuse.lab.bench.errors import BenchError
from netfsfuse.lab.bench.process import Meter, Program, run
from netfsfuse.lab.server.smbd import _group_lives
from tests.support.until import until

BURN = "import time\nend = time.process_time() + 0.2\nwhile time.process_time() < end: pass"


def test_what_a_program_cost() -> None:
    done = run([sys.executable, "-I", "-c", BURN])
    assert 0.2 <= done.cpu < 1
    assert done.seconds >= 0.2
    assert done.peak_rss > 1 << 20


def test_input_output_and_environment() -> None:
    done = run(["sh", "-c", "cat; echo $A >&2"], text="given", environment={"A": "b"})
    assert (done.output, done.errors) == ("given", "b\n")


def test_a_failure_is_its_last_line() -> None:
    with pytest.raises(BenchError, match=r"^sh: the reason$"):
        run(["sh", "-c", "echo chatter >&2; echo the reason >&2; exit 3"])
    assert run(["sh", "-c", "exit 3"], check=False).reason == "exit status 3"
    with pytest.raises(BenchError, match="cannot be started"):
        run(["/no/such/program"])


def test_one_that_hangs_is_killed_with_its_children() -> None:
    program = Program(["sh", "-c", "sleep 60 & wait"])
    with pytest.raises(BenchError, match="did not end"):
        program.wait(0.3)
    until(lambda: not _group_lives(program.pid), 5, "its group ends")


def test_grace_lets_it_clean_up(tmp_path: Path) -> None:
    """It is asked first, and what it leaves running is ended all the same."""
    ready, cleaned = tmp_path / "ready", tmp_path / "cleaned"
    loop = "while :; do sleep 0.01; done"
    script = f"trap 'echo > {cleaned}; exit 0' TERM; sleep 60 & echo > {ready}; {loop}"
    program = Program(["sh", "-c", script], grace=10)
    until(ready.exists, 5, "it runs")
    assert program.running
    program.kill()
    assert cleaned.exists()
    assert not program.running
    until(lambda: not _group_lives(program.pid), 5, "its group ends")
    program.kill()


def test_grace_ends() -> None:
    program = Program(["sh", "-c", "trap '' TERM; while :; do sleep 0.01; done"], grace=0.1)
    program.kill()
    until(lambda: not _group_lives(program.pid), 5, "its group ends")


def test_a_meter_sees_time_and_memory() -> None:
    meter = Meter(os.getpid())
    before = meter.cpu_seconds()
    sum(range(10_000_000))
    assert meter.cpu_seconds() > before
    meter.reset_peak()
    low = meter.peak_rss()
    held = bytearray(os.urandom(1 << 20) * 64)
    high = meter.peak_rss()
    assert low is not None
    assert high is not None
    assert high - low > 32 << 20, len(held)


def test_a_meter_of_one_that_is_gone() -> None:
    program = Program(["true"])
    program.wait()
    with pytest.raises(BenchError, match="ended"):
        Meter(program.pid).cpu_seconds()


def test_a_signal_reaches_it() -> None:
    program = Program(["sleep", "60"])
    program.signal(signal.SIGINT)
    assert program.wait().status == -signal.SIGINT
