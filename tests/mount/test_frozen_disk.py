"""A cache on a disk that hangs: the server answers in its place, and the mount can be ended."""

from __future__ import annotations

import os
import signal
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from netfsfuse.lab import mounts
from netfsfuse.lab.server.samba import PrivateSamba
from netfsfuse.netfs.io.slow_cache import CACHE_TIMEOUT
from tests.support.loopfs import loop_filesystem
from tests.support.mounted import Mounted
from tests.support.until import until

pytestmark = pytest.mark.alone  # while a disk is frozen, every sync of the machine stands still

MIB = 1024 * 1024
FILES = 30
MARGIN = 1.5  # seconds, for a busy machine


@pytest.fixture(scope="module")
def content(samba: PrivateSamba) -> dict[str, bytes]:
    folder = samba.path / "frozen"
    folder.mkdir()
    sizes = {f"small{n:02}": 3000 for n in range(FILES)} | {"big": 24 * MIB, "known": MIB}
    content = {name: os.urandom(size) for name, size in sizes.items()}
    for name, data in content.items():
        (folder / name).write_bytes(data)
        os.utime(folder / name, (1_600_000_000, 1_600_000_000))
    return content


@contextmanager
def frozen(disk: Path) -> Iterator[Callable[[], None]]:
    """``disk`` takes no writes meanwhile, until what is given is called: who tries sleeps in the
    kernel, where no signal reaches him."""
    subprocess.run(["fsfreeze", "--freeze", disk], check=True)
    thawed: list[bool] = []

    def thaw() -> None:
        if not thawed:
            thawed.append(True)
            subprocess.run(["fsfreeze", "--unfreeze", disk], check=True)

    try:
        yield thaw
    finally:
        thaw()


def read(mounted: Mounted, name: str, expected: bytes) -> float:
    """Open, read and close it, and have the kernel forget its pages; seconds that took."""
    begin = time.monotonic()
    with (mounted.path / "frozen" / name).open("rb") as file:
        assert file.read() == expected
        os.posix_fadvise(file.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)
    return time.monotonic() - begin


def stuck_threads(pid: int) -> list[str]:
    """The states of its threads that wait in the kernel for good."""
    stats = [path.read_text() for path in Path(f"/proc/{pid}/task").glob("*/stat")]
    return [state for stat in stats if (state := stat.rpartition(")")[2].split()[0]) == "D"]


def test_a_frozen_cache_disk_holds_nobody_up_for_long(
    samba: PrivateSamba, mount, content: dict[str, bytes], tmp_path: Path
) -> None:
    with loop_filesystem("ext4", 64 * MIB, tmp_path) as disk:
        cachedir = disk / "cache"
        mounted: Mounted = mount(samba, cachedir=cachedir)
        read(mounted, "known", content["known"])
        with frozen(disk) as thaw:
            rounds = []
            for _ in range(3):
                took = {name: read(mounted, name, data) for name, data in content.items()}
                rounds.append(sum(took.values()))
                assert max(took.values()) < 2 * CACHE_TIMEOUT + MARGIN, took
                time.sleep(CACHE_TIMEOUT / 2)
            assert rounds[-1] < MARGIN, rounds  # it is known by then
            pid = mounted.pid
            assert stuck_threads(pid), "nothing hangs: nothing was tested"
            assert 0 < mounted.log_text().count("does not answer") < 5
            os.kill(pid, signal.SIGTERM)
            until(lambda: not mounts.is_mounted(mounted.path), 10, "it is unmounted")
            until(lambda: not mounts.command_line(pid), 15, "the process has left")
            assert "leaving at once, for a disk that hangs" in mounted.log_text()
            thaw()
            until(lambda: not Path(f"/proc/{pid}").exists(), 5, "nothing is left of it")
        mounted.mount()  # the cache is sound
        read(mounted, "big", content["big"])
        mounted.umount()


def test_when_the_disk_answers_again_it_is_used_again(
    samba: PrivateSamba, mount, content: dict[str, bytes], tmp_path: Path
) -> None:
    with loop_filesystem("ext4", 64 * MIB, tmp_path) as disk:
        mounted: Mounted = mount(samba, cachedir=disk / "cache")
        with frozen(disk):
            for n in range(4):
                read(mounted, f"small{n:02}", content[f"small{n:02}"])
            read(mounted, "known", content["known"])
            time.sleep(0)
        before = mounted.stats()["cache"]["bytes_stored"]
        for n in range(10, 20):
            read(mounted, f"small{n:02}", content[f"small{n:02}"])
        until(
            lambda: mounted.stats()["cache"]["bytes_stored"] >= before + 10 * 3000, 10, "is stored"
        )
        mounted.umount()
