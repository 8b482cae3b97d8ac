"""A cache on a disk that loses its power while files change: what is found afterwards is right."""

from __future__ import annotations

import os
import random
import signal
import time
from pathlib import Path

import pytest

from tests.cachefiles.power_changes import PowerChanges
from tests.support.loopfs import MIB
from tests.support.power import power_disk

pytestmark = pytest.mark.mount


def change_until_killed(changes: PowerChanges, seed: int, folder: Path, seconds: float) -> None:
    """In a process of its own."""
    before = changes.written
    child = os.fork()
    if not child:
        try:
            changes.run(seed, folder)
        finally:
            os._exit(1)
    end = time.monotonic() + 20
    while changes.written == before:  # it has bound the cache
        assert time.monotonic() < end, "stands still"
        time.sleep(0.001)
    time.sleep(seconds)  # the moment of the loss
    os.kill(child, signal.SIGKILL)
    status = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    assert status == -signal.SIGKILL, "it failed by itself"


@pytest.mark.parametrize("kind", ["ext4", "xfs"])
@pytest.mark.parametrize(
    "times", [3, pytest.param(100, marks=[pytest.mark.soak, pytest.mark.timeout(1800)])]
)
def test_power_losses_while_files_change(kind: str, times: int) -> None:
    chance, changes = random.Random(times), PowerChanges()
    records = found = 0
    with power_disk(kind, 320 * MIB) as disk:
        folder = disk.mountpoint / "cache"
        for _ in range(times):
            seed = chance.getrandbits(32)
            change_until_killed(changes, seed, folder, chance.uniform(0.0, 0.5))
            disk.lose_power()
            records += changes.take()
            disk.start()
            found += changes.check(folder)
    changes.close()
    print(f"{times} losses in {records} changes: {found} blocks were found, all right")
    assert found >= times, "the test would prove nothing"
