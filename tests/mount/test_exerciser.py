"""Random programs on the mount, beside a full model: no byte, size, name or time is ever wrong.

``support/exerciser.py`` says what they do. A failure names the variant and the seed; the same
command with ``--shrink 60`` finds the shortest program that fails.
"""

from __future__ import annotations

import tempfile
from collections.abc import Callable
from pathlib import Path

import pytest

from netfsfuse.lab.server.samba import PrivateSamba
from tests.mount.variants import VARIANTS, Setting
from tests.support.exercising import exercise
from tests.support.mounted import Mounted
from tests.support.proxy import PrivateProxy

PIECE = 5000
"""Operations of one seed."""
SOAK = {name: 20_000 if VARIANTS[name].delay else 100_000 for name in VARIANTS}
SHORT = {"cached": 700, "nofsc": 500, "signed": 400, "sealed": 400, "nolease": 400, "none": 300}


@pytest.fixture
def setting(
    samba: PrivateSamba,
    samba_factory: Callable[..., PrivateSamba],
    mount: Callable[..., Mounted],
    proxy: Callable[..., PrivateProxy],
) -> Setting:
    return Setting(samba, samba_factory, mount, proxy)


def places(mounted: Mounted) -> tuple[Path, Path]:
    """A new folder, on the mount and on the server's disk."""
    there = Path(tempfile.mkdtemp(prefix="exerciser-", dir=mounted.samba.path))
    return mounted.path / there.name, there


def check_healthy(mounted: Mounted) -> None:
    stats = mounted.stats()
    assert stats["application"]["errors"] == 0, mounted.log_text()
    assert stats["tasks"]["failed"] == 0, mounted.log_text()


@pytest.mark.parametrize("variant", SHORT)
def test_nothing_differs(setting: Setting, variant: str) -> None:
    mounted = setting.mounted(variant)
    count = SHORT[variant]
    exercise(*places(mounted), "--seed", str(count), "--count", str(count), timeout=100)
    check_healthy(mounted)


def test_another_mount_sees_the_same(setting: Setting) -> None:
    """Bytes that wait here are given to another client that asks for them."""
    mounted = setting.mounted("cached")
    peer = setting.another(mounted.samba)
    here, there = places(mounted)
    words = ("--peer", str(peer.path / here.name), "--seed", "11", "--count", "500")
    exercise(here, there, *words, timeout=100)
    check_healthy(mounted)
    check_healthy(peer)


def test_after_a_remount(setting: Setting) -> None:
    """What is cached of files that were written is what they hold."""
    mounted = setting.mounted("cached")
    for seed in range(2):
        here, there = places(mounted)
        exercise(here, there, "--seed", str(seed), "--count", "200", "--keep", timeout=100)
        mounted.remount()
        for path in there.glob("*/*"):
            assert (here / path.relative_to(there)).read_bytes() == path.read_bytes()


@pytest.mark.soak
@pytest.mark.timeout(3500)
@pytest.mark.parametrize("variant", SOAK)
def test_a_million_operations(setting: Setting, variant: str) -> None:
    """All variants together."""
    assert sum(SOAK.values()) >= 1_000_000
    mounted = setting.mounted(variant)
    more = ("--drop-pages", "--cachedir", str(mounted.cachedir))
    for seed in range(SOAK[variant] // PIECE):
        words = ("--seed", str(1000 + seed), "--count", str(PIECE), *more)
        exercise(*places(mounted), *words, timeout=600)
        if seed % 5 == 4:
            mounted.remount()
    check_healthy(mounted)


@pytest.mark.soak
@pytest.mark.timeout(3500)
@pytest.mark.parametrize("options", ["fsc", "nofsc"])
def test_two_mounts_for_long(setting: Setting, options: str) -> None:
    mounted = setting.mounted("cached")
    peer = setting.another(mounted.samba, options)
    for seed in range(10):
        here, there = places(mounted)
        words = ("--peer", str(peer.path / here.name), "--seed", str(seed), "--count", str(PIECE))
        exercise(here, there, *words, timeout=600)
    check_healthy(mounted)
    check_healthy(peer)
