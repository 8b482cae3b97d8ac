"""What the FUSE session does about writes, with files that swallow what is written to them: the
kernel's questions beside them, and the memory of those that wait."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from pathlib import Path
from threading import Thread

import pytest

from netfsfuse.fuse.backlog import FULL, STANDSTILL
from netfsfuse.lab import mounts
from tests.support.ordinary_user import OrdinaryUser

MIB = 1 << 20
BLOCK = bytes(MIB)
WRITERS = 120
UNBOUNDED = 1 << 40

pytestmark = pytest.mark.mount


class RunningSink:
    """A sink that is mounted on ``path``."""

    def __init__(self, path: Path, *words: str) -> None:
        self.path = path
        path.mkdir()
        self._process = subprocess.Popen(
            [sys.executable, "-m", "tests.support.sink", str(path), *words],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            text=True,
        )
        assert self._process.stdout is not None
        assert self._process.stdout.readline() == "ready\n"

    def end(self) -> dict[str, int]:
        """Unmount it; its counters."""
        subprocess.run(["umount", "-l", self.path], check=True)
        out, _ = self._process.communicate(timeout=30)
        counters: dict[str, int] = json.loads(out)
        return counters

    def remove(self) -> None:
        """Whatever has happened."""
        self._process.kill()
        self._process.communicate()
        mounts.remove(self.path)


Make = Callable[..., RunningSink]


@pytest.fixture
def sink(tmp_path: Path) -> Iterator[Make]:
    with ExitStack() as stack:

        def make(*words: str) -> RunningSink:
            made = RunningSink(tmp_path / "mnt", *words)
            stack.callback(made.remove)
            return made

        yield make


def write_by_blocks(path: Path, blocks: int) -> None:
    """4 KiB each, through the kernel's pages."""
    fd = os.open(path, os.O_RDWR)
    try:
        for _ in range(blocks):
            assert os.write(fd, bytes(4096)) == 4096
    finally:
        os.close(fd)


@pytest.mark.parametrize(("words", "most"), [([], 2), (["plain"], 10_000)])
def test_the_kernel_asks_for_capabilities_once_a_file(
    sink: Make, words: list[str], most: int
) -> None:
    mounted = sink(str(FULL), *words)
    write_by_blocks(mounted.path / "a", 300)
    counters = mounted.end()
    assert counters["writes"] >= 300
    assert counters["getxattr"] <= most
    if words:  # else the test would prove nothing
        assert counters["getxattr"] >= 300


def test_so_it_does_for_an_ordinary_user(session_folder: Path) -> None:
    """Who mounts by fusermount3."""
    user = OrdinaryUser(session_folder / "ordinary-sink")
    script = f"""
        mkdir mnt
        {sys.executable} -m tests.support.sink mnt {FULL} > said &
        until grep -q ready said; do sleep 0.05; done
        {sys.executable} -c "import os
fd = os.open('mnt/a', os.O_RDWR)
for _ in range(300): os.write(fd, bytes(4096))"
        fusermount3 -u mnt
        wait
        tail -1 said
    """
    result = user.run(["sh", "-euc", script])
    assert result.returncode == 0, result
    counters = json.loads(result.stdout)
    assert counters["writes"] >= 300
    assert counters["getxattr"] <= 2


def write_block(path: Path, times: int = 1) -> None:
    """1 MiB at a time, past the kernel's pages."""
    fd = os.open(path, os.O_WRONLY)
    try:
        for _ in range(times):
            assert os.write(fd, BLOCK) == MIB
    finally:
        os.close(fd)


def write_by_many(path: Path, each: int) -> None:
    """``WRITERS`` writers, a file for each, 1 MiB at a time."""
    with ThreadPoolExecutor(WRITERS) as pool:
        list(pool.map(lambda number: write_block(path / str(number), each), range(WRITERS)))


def test_writers_beyond_the_bound_wait_in_the_kernel(sink: Make) -> None:
    mounted = sink(str(FULL), "slow")
    write_by_many(mounted.path, 4)
    counters = mounted.end()
    assert counters["writes"] >= 4 * WRITERS  # 257 pages are two requests
    assert FULL <= counters["held_peak"] <= FULL + 2 * MIB
    assert counters["rss_peak"] < 160 * MIB


def test_without_a_bound_all_are_held(sink: Make) -> None:
    """The test above can fail."""
    mounted = sink(str(UNBOUNDED), "slow")
    write_by_many(mounted.path, 2)
    assert mounted.end()["held_peak"] > FULL + 20 * MIB


def test_a_look_up_behind_writers_that_stand_still_is_answered(sink: Make) -> None:
    """Held back with the writes at first, and no longer than the bound says."""
    mounted = sink(str(8 * MIB), "shut")
    threads = [Thread(target=write_block, args=(mounted.path / str(n),)) for n in range(40)]
    for thread in threads:
        thread.start()
    begun = time.monotonic()
    assert not (mounted.path / "never").exists()
    assert time.monotonic() - begun < STANDSTILL + 3
    assert not (mounted.path / "open").exists()
    for thread in threads:
        thread.join()
    assert mounted.end()["held_peak"] >= 8 * MIB
