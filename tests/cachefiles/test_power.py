"""A cache on a disk that loses its power while files change: what is found afterwards is right."""

from __future__ import annotations

import mmap
import os
import random
import signal
import struct
import time

import pytest

from tests.cachefiles.power_changes import PowerChanges
from tests.support.loopfs import MIB
from tests.support.power import power_disk

pytestmark = pytest.mark.mount
STEPS = 1 << 30


def change_until_killed(changes: PowerChanges, seed: int, folder, seconds: float) -> int:
    """In a process of its own; the steps that it began."""
    begun = mmap.mmap(-1, 8)
    child = os.fork()
    if not child:
        try:
            changes.run(seed, STEPS, folder, lambda n: struct.pack_into("q", begun, 0, n + 1))
        finally:
            os._exit(1)
    end = time.monotonic() + 20
    while struct.unpack("q", begun)[0] < 5:  # it has bound the cache
        assert time.monotonic() < end, "stands still"
        time.sleep(0.001)
    time.sleep(seconds)  # the moment of the loss
    os.kill(child, signal.SIGKILL)
    status = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    assert status == -signal.SIGKILL, "it failed by itself"
    return struct.unpack("q", begun)[0]


@pytest.mark.parametrize("kind", ["ext4", "xfs"])
@pytest.mark.parametrize(
    "times", [3, pytest.param(100, marks=[pytest.mark.soak, pytest.mark.timeout(1800)])]
)
def test_power_losses_while_files_change(kind: str, times: int) -> None:
    chance, changes = random.Random(times), PowerChanges()
    steps = found = 0
    with power_disk(kind, 320 * MIB) as disk:
        folder = disk.mountpoint / "cache"
        for _ in range(times):
            seed = chance.getrandbits(32)
            done = change_until_killed(changes, seed, folder, chance.uniform(0.0, 0.5))
            disk.lose_power()
            changes.run(seed, done, None, lambda number: None)
            disk.start()
            found += changes.check(folder)
            steps += done
    print(f"{times} losses in {steps} steps: {found} blocks were found, all right")
    assert found >= times, "the test would prove nothing"
