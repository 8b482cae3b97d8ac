"""The daemon dies while its cache fills: what is served afterwards is right, and little is lost."""

from __future__ import annotations

import random
import tempfile
from collections.abc import Callable
from pathlib import Path

import pytest

from netfsfuse.demo.samba import PrivateSamba
from tests.mount.reading import MIB
from tests.support.mounted import Mounted
from tests.support.torture_crash import CrashTorture

Mount = Callable[..., Mounted]


def crash_again_and_again(
    samba: PrivateSamba, mounted: Mounted, kills: int, files: int, size: int, seed: int
) -> None:
    torture = CrashTorture(Path(tempfile.mkdtemp(dir=samba.path)), files, 6, size, seed)
    chance = random.Random(seed)
    shares = []

    def crash() -> None:
        mounted.kill9()
        mounted.mount()

    for number in range(kills):
        if number % 5 == 0:
            torture.forget_some(mounted, 0.5)
        shares.append(torture.round(mounted, chance.uniform(0.1, 4.0), crash))
    print(f"{kills} kills: from the cache {min(shares):.2%} at the least")
    assert min(shares) >= 0.95
    assert "Traceback" not in mounted.log_text()


@pytest.mark.mount
@pytest.mark.timeout(240)
def test_a_few_crashes(samba: PrivateSamba, mount: Mount) -> None:
    crash_again_and_again(samba, mount(samba), kills=4, files=24, size=4 * MIB, seed=31)


@pytest.mark.soak
@pytest.mark.mount
@pytest.mark.timeout(3600)
def test_two_hundred_crashes_of_a_gibibyte(samba: PrivateSamba, mount: Mount) -> None:
    crash_again_and_again(samba, mount(samba), kills=200, files=64, size=16 * MIB, seed=32)
