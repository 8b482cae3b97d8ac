"""Killed readers never stop the loop (``netfsfuse/fuse/readable.py``).

pyfuse3 reads /dev/fuse with a blocking read; a reader that dies between the wake-up and that read
leaves nothing to read. Here it dies exactly there, every time, and the loop's pulse is felt from
outside. The loop may stall for 0.3 s, not more; without the cure it stands still for good, which
is tested too, so that the first test cannot pass for want of a freeze.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from netfsfuse.lab import mounts
from tests.support.mounted import SOURCE_TREE
from tests.support.torture_ticker import Pulse

pytestmark = pytest.mark.alone  # a beat is measured

STALL = 0.3
MOMENTS = ("before-poll", "before-read")


class Harness:
    """One run of ``torture_freeze`` on a mount point below ``folder``."""

    def __init__(self, folder: Path, cure: str, moment: str, rounds: int) -> None:
        self.mountpoint = folder / "mnt"
        self.mountpoint.mkdir()
        self.pulse = Pulse(folder / "ticker")
        module = "tests.support.torture_freeze"
        words = [self.mountpoint, folder / "ticker", cure, moment, str(rounds)]
        self.process = subprocess.Popen(
            [sys.executable, "-m", module, *words],
            stdout=subprocess.PIPE,
            env={**os.environ, "PYTHONPATH": SOURCE_TREE},
            cwd=SOURCE_TREE,
        )

    def wait_started(self) -> None:
        """Return when the loop beats, or stands still already."""
        deadline = time.monotonic() + 20
        while not self.pulse.beats and time.monotonic() < deadline:
            time.sleep(0.01)
        assert self.pulse.beats, "the harness did not start"

    def end(self) -> None:
        """Leave neither process nor mount, also when the loop stands still."""
        with self.process:  # closes the pipe and waits
            self.process.kill()
        mounts.detach(self.mountpoint)


@pytest.fixture
def harness(session_folder: Path) -> Iterator[object]:
    """``harness(cure, moment, rounds)``, ended at the end of the test."""
    made: list[Harness] = []

    def make(cure: str, moment: str, rounds: int) -> Harness:
        folder = Path(tempfile.mkdtemp(prefix="freeze-", dir=session_folder))
        made.append(Harness(folder, cure, moment, rounds))
        made[-1].wait_started()
        return made[-1]

    yield make
    for one in made:
        one.end()


@pytest.mark.mount
@pytest.mark.parametrize("moment", MOMENTS)
def test_killed_readers_do_not_stop_the_loop(harness, moment: str) -> None:
    """The promise of the cure, at both moments at which a request can vanish."""
    rounds = 20
    torture: Harness = harness("cured", moment, rounds)
    while torture.process.poll() is None:
        beats = torture.pulse.wait_beats(1, 2.0)
        assert beats or torture.process.poll() is not None, "the loop stands still"
    assert torture.process.returncode == 0
    killed = json.loads(torture.process.stdout.read())["killed"]
    assert killed >= rounds // 2, f"only {killed} of {rounds} readers were killed in time"
    assert torture.pulse.largest_gap < STALL


@pytest.mark.mount
def test_without_the_cure_the_loop_stands_still(harness) -> None:
    """The harness does what the other test thinks it does."""
    torture: Harness = harness("bare", "before-poll", 20)
    deadline = time.monotonic() + 30
    while torture.pulse.wait_beats(1, 2 * STALL):
        assert torture.process.poll() is None, "20 killed readers, and nothing froze"
        assert time.monotonic() < deadline
    assert torture.process.poll() is None
