"""The daemon dies while its cache fills: what is served afterwards is right, and little is lost."""

from __future__ import annotations

import random
import tempfile
from collections.abc import Callable
from pathlib import Path

import pytest

from netfsfuse.lab.server.samba import PrivateSamba
from tests.mount.reading import MIB
from tests.support.mounted import Mounted
from tests.support.power import power_disk
from tests.support.torture_crash import CrashTorture

Mount = Callable[..., Mounted]


def crash_again_and_again(
    mounted: Mounted,
    times: int,
    files: int,
    size: int,
    seed: int,
    lose_power: Callable[[], None] = lambda: None,
) -> None:
    """Kill the daemon ``times`` times; ``lose_power`` is called before it is mounted again."""
    samba = mounted.samba
    torture = CrashTorture(Path(tempfile.mkdtemp(dir=samba.path)), files, 6, size, seed)
    chance = random.Random(seed)
    shares = []

    def crash() -> None:
        mounted.kill9()
        lose_power()
        mounted.mount()

    for number in range(times):
        if number % 5 == 0:
            torture.forget_some(mounted, 0.5)
        shares.append(torture.round(mounted, chance.uniform(0.1, 4.0), crash))
    print(f"{times} crashes: from the cache {min(shares):.2%} at the least")
    assert min(shares) >= 0.95, shares
    assert "Traceback" not in mounted.log_text()


def lose_power_again_and_again(
    samba: PrivateSamba, mount: Mount, kind: str, times: int, files: int, size: int
) -> None:
    with power_disk(kind, 2048 * MIB) as disk:
        mounted = mount(samba, cachedir=disk.mountpoint / "cache")

        def lose_power() -> None:
            disk.lose_power()
            disk.start()

        crash_again_and_again(mounted, times, files, size, 33, lose_power)
        mounted.umount()


@pytest.mark.mount
@pytest.mark.timeout(240)
def test_a_few_crashes(samba: PrivateSamba, mount: Mount) -> None:
    crash_again_and_again(mount(samba), times=3, files=24, size=4 * MIB, seed=31)


@pytest.mark.mount
@pytest.mark.timeout(240)
def test_a_few_power_losses(samba: PrivateSamba, mount: Mount) -> None:
    lose_power_again_and_again(samba, mount, "ext4", times=3, files=12, size=2 * MIB)


@pytest.mark.soak
@pytest.mark.mount
@pytest.mark.timeout(3600)
def test_two_hundred_crashes_of_a_gibibyte(samba: PrivateSamba, mount: Mount) -> None:
    crash_again_and_again(mount(samba), times=200, files=64, size=16 * MIB, seed=32)


@pytest.mark.soak
@pytest.mark.mount
@pytest.mark.timeout(3600)
@pytest.mark.parametrize("kind", ["ext4", "xfs"])
def test_a_hundred_power_losses(samba: PrivateSamba, mount: Mount, kind: str) -> None:
    lose_power_again_and_again(samba, mount, kind, times=100, files=64, size=4 * MIB)
