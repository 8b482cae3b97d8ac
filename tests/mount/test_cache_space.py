"""The cache within its limits, and one cache for several mounts, through real mounts."""

from __future__ import annotations

import itertools
import os
import subprocess
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from netfsfuse.fscache.health import NO_SPACE_PAUSE
from netfsfuse.lab.server import data
from netfsfuse.lab.server.samba import PrivateSamba
from tests.mount.reading import BIG, MIB, big_file, compare, content, dd, digest, sha256
from tests.support.loopfs import loop_filesystem
from tests.support.mounted import Mounted
from tests.support.until import until

Mount = Callable[..., Mounted]

LONG_AGO = 1_500_000_000


def allocated(folder: Path) -> int:
    """Bytes on disk of everything below ``folder``."""
    total = 0
    for where, _, names in os.walk(folder):
        for name in names:
            try:
                total += os.lstat(os.path.join(where, name)).st_blocks * 512
            except FileNotFoundError:
                continue
    return total


@contextmanager
def sampled(cachedir: Path) -> Iterator[list[int]]:
    """What the cache takes, again and again while the body runs."""
    samples: list[int] = []
    over = threading.Event()

    def sample() -> None:
        while not over.wait(0.01):
            samples.append(allocated(cachedir))

    sampler = threading.Thread(target=sample)
    sampler.start()
    try:
        yield samples
    finally:
        over.set()
        sampler.join()


def read_more_than_fits(
    samba: PrivateSamba, mount: Mount, folder: Path, there: Path, rounds: int
) -> None:
    with loop_filesystem("ext4", 64 * MIB, folder) as disk:
        cachedir = disk / "cache"
        mounted = mount(samba, "cachesize=32M", cachedir=cachedir)
        expected = sha256(there)
        with sampled(cachedir) as samples:
            for number in range(50):  # the culler comes when it comes, twice a second or so
                assert digest(dd(mounted.path / there.name, direct=bool(number % 2))) == expected
                if number + 1 >= rounds and mounted.stats()["cache"]["culled"] > 0:
                    break
        stats = mounted.stats()
        assert max(samples) <= 32 * MIB
        assert max(samples) >= 24 * MIB
        assert stats["cache"]["errors"] == 0
        assert stats["cache"]["culled"] > 0
        mounted.umount()
        assert allocated(cachedir) >= 16 * MIB


@pytest.mark.mount
def test_a_file_eight_times_the_cap(samba: PrivateSamba, mount: Mount, tmp_path: Path) -> None:
    read_more_than_fits(samba, mount, tmp_path, big_file(samba), rounds=2)


@pytest.mark.soak
@pytest.mark.mount
def test_a_gibibyte_through_a_cache_on_64_mib(
    samba: PrivateSamba, mount: Mount, tmp_path: Path
) -> None:
    there = samba.path / "gibibyte"
    data.write_file(there, 1024 * MIB, seed="gibibyte")
    read_more_than_fits(samba, mount, tmp_path, there, rounds=3)


@pytest.mark.mount
def test_a_disk_that_is_smaller_than_the_file_and_no_cap(
    samba: PrivateSamba, mount: Mount, tmp_path: Path
) -> None:
    """The percentages alone keep room: bstop at every sample, and reading goes on."""
    with loop_filesystem("ext4", 64 * MIB, tmp_path) as disk:
        mounted = mount(samba, "brun=20,bcull=15,bstop=10%", cachedir=disk / "cache")
        expected = sha256(big_file(samba))
        free = []
        with sampled(disk) as samples:
            for _ in range(2):
                assert digest(dd(mounted.path / big_file(samba).name)) == expected
                about = os.statvfs(disk)
                free.append(about.f_bavail / about.f_blocks)
        assert max(samples) > 32 * MIB
        assert min(free) >= 0.08  # a batch of 1 MiB is 2 %
        assert "No space" not in mounted.log_text()
        mounted.umount()


@pytest.mark.mount
def test_a_disk_that_somebody_fills_and_empties(
    samba: PrivateSamba, mount: Mount, tmp_path: Path
) -> None:
    """No error to a reader, one line, and the cache stores again by itself."""
    there = big_file(samba)
    with loop_filesystem("ext4", 64 * MIB, tmp_path) as disk:
        mounted = mount(samba, "brun=3,bcull=2,bstop=1", cachedir=disk / "cache")
        filler = disk / "filler"
        subprocess.run(
            ["dd", "if=/dev/zero", f"of={filler}", "bs=1M", "status=none"],
            check=False,
            stderr=subprocess.DEVNULL,
        )
        assert digest(dd(mounted.path / there.name)) == sha256(there)
        assert mounted.stats()["cache"]["bytes_stored"] < 4 * MIB
        filler.unlink()
        os.sync()
        before = mounted.stats()["cache"]["bytes_stored"]
        numbers = itertools.count()

        def stored_again() -> bool:
            small = samba.path / f"after-the-flood-{next(numbers)}"
            data.write_file(small, MIB, seed="flood")
            os.utime(small, (LONG_AGO, LONG_AGO))  # what was changed just now is not cached
            compare(mounted.path / small.name, small)
            return mounted.stats()["cache"]["bytes_stored"] >= before + MIB

        until(stored_again, NO_SPACE_PAUSE + 15, "storing again")
        mounted.umount()
        warnings = [line for line in mounted.log_text().splitlines() if "WARNING" in line]
        assert len([line for line in warnings if "cache" in line]) <= 1


@pytest.mark.mount
def test_two_mounts_of_one_share_share_one_cache(samba: PrivateSamba, mount: Mount) -> None:
    there = big_file(samba)
    first = mount(samba)
    second = mount(samba, cachedir=first.cachedir)
    expected = sha256(there)
    assert digest(dd(first.path / there.name)) == expected
    assert digest(dd(second.path / there.name)) == expected
    stats = second.stats()
    assert stats["server"]["bytes"] < BIG // 100
    assert stats["cache"]["bytes_read"] >= 0.99 * BIG


@pytest.mark.mount
def test_a_change_seen_by_one_mount_ends_it_for_the_other(
    samba: PrivateSamba, mount: Mount
) -> None:
    there = samba.path / "shared-and-changed"
    first = mount(samba)
    second = mount(samba, cachedir=first.cachedir)
    for number in range(6):
        data.write_file(there, 3 * MIB + number, seed=f"shared {number}")
        for mounted in (first, second) if number % 2 else (second, first):
            compare(mounted.path / there.name, there)
            assert content(mounted.path / there.name, direct=True) == there.read_bytes()
    first.kill9()
    data.write_file(there, 3 * MIB, seed="after the kill")
    compare(second.path / there.name, there)
