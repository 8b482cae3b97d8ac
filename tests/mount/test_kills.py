"""``kill -9``: of readers, which must leak nothing, and of the daemon, which must lose nothing."""

from __future__ import annotations

import json
import os
import random
import tempfile
import time
from pathlib import Path
from typing import Any

import pytest

from netfsfuse.config import ReadConfig
from netfsfuse.lab.server.samba import PrivateSamba
from netfsfuse.netfs.memory.pool import KEEP_WARM
from tests.support.mounted import Mounted
from tests.support.torture_readers import (
    Comparers,
    Reader,
    drop_pages,
    open_on_server,
    same_content,
)

pytestmark = pytest.mark.alone  # answers within a second are promised

MIB = 1024 * 1024
BUFFERS = ReadConfig().buffers
SETTLE = 2.0
"""Seconds after which what was read must have reached the cache, whatever comes."""


def make_files(samba: PrivateSamba, sizes: list[int], seed: int) -> list[Path]:
    """Files of random content in a folder of their own on the server's disk."""
    folder = Path(tempfile.mkdtemp(dir=samba.path))
    rng = random.Random(seed)
    files = [folder / f"file{number}" for number in range(len(sizes))]
    for file, size in zip(files, sizes, strict=True):
        file.write_bytes(rng.randbytes(size))
    return files


def through(mounted: Mounted, file: Path) -> Path:
    """The server's file as the mount shows it."""
    return mounted.path / file.relative_to(mounted.samba.path)


def answer(mounted: Mounted) -> dict[str, Any]:
    """The statistics straight from the mount, which must come within a second."""
    begin = time.monotonic()
    counters: dict[str, Any] = json.loads(os.getxattr(mounted.path, "user.netfsfuse.stats"))
    assert time.monotonic() - begin < 1.0, "the daemon took more than a second to answer"
    return counters


def wait_no_handles(mounted: Mounted, files: Path) -> None:
    """No handle is left, neither ours nor the server's; the kernel releases behind our back."""
    deadline = time.monotonic() + 5
    while answer(mounted)["vfs"]["handles"] or open_on_server(files):
        assert time.monotonic() < deadline, (answer(mounted)["vfs"], open_on_server(files))
        time.sleep(0.05)


def kill_readers(mounted: Mounted, kills: int, seed: int) -> None:
    """Kill ``kills`` readers at random moments while others compare; then look for leaks."""
    files = make_files(mounted.samba, [24 * MIB] * 3 + [5 * MIB + 77], seed)
    mounted.mount()
    pid = mounted.pid
    rng = random.Random(seed)
    slowest = 0.0
    with Comparers([(file, through(mounted, file)) for file in files[:2]]):
        for _ in range(kills):
            victim = through(mounted, rng.choice(files))
            if rng.random() < 0.5:
                drop_pages(victim)
            with Reader(victim, rng.choice(Reader.KINDS), rng.randrange(24 * MIB)) as reader:
                time.sleep(rng.uniform(0, 0.02))  # not a wait: the moment of the kill
                begin = time.monotonic()
                reader.kill()
            slowest = max(slowest, time.monotonic() - begin)
            answer(mounted)
    wait_no_handles(mounted, files[0].parent)
    counters = answer(mounted)
    peak = counters["memory"]["buffers_bytes_peak"]
    print(
        f"{kills} kills: slowest death {slowest * 1000:.0f} ms, buffers at most {peak >> 20} MiB, "
        f"then {counters['memory']['buffers_bytes'] >> 20} MiB"
    )
    assert slowest < 2.0
    assert peak <= BUFFERS
    assert counters["memory"]["buffers_bytes"] <= KEEP_WARM
    assert counters["server"]["in_flight"] == 0
    assert counters["application"]["errors"] == 0
    assert mounted.pid == pid
    assert all(same_content(file, through(mounted, file)) for file in files)
    assert "Traceback" not in mounted.log_text()
    for file in files:
        file.unlink()


def test_killed_readers_leak_nothing(samba: PrivateSamba, mount) -> None:
    """Handles, buffers and requests of readers that died come back; those beside them read on."""
    kill_readers(mount(samba, now=False), kills=60, seed=11)


@pytest.mark.soak
@pytest.mark.timeout(900)
def test_a_thousand_killed_readers_leak_nothing(samba: PrivateSamba, mount) -> None:
    """The same for long."""
    kill_readers(mount(samba, now=False), kills=1000, seed=12)


def kill_daemons(mounted: Mounted, kills: int, seed: int) -> None:
    """``kills`` times: read a new file, read others for two seconds, kill the daemon while it
    reads, mount again, and see that the new file comes from the cache and all files are right."""
    size = 24 * MIB
    files = make_files(mounted.samba, [size] * (kills + 1), seed)
    busy = files[-1]
    rng = random.Random(seed)
    shares = []
    mounted.mount()
    for fresh in files[:-1]:
        assert Reader(through(mounted, fresh), "cat").process.wait(20) == 0
        read_until(through(mounted, busy), time.monotonic() + SETTLE + rng.uniform(0, 0.05))
        with Reader(through(mounted, busy), "direct") as _, Reader(through(mounted, busy), "cat"):
            mounted.kill9()
        mounted.mount()
        before = mounted.stats()
        assert same_content(fresh, through(mounted, fresh))
        after = mounted.stats()
        fetched = after["server"]["bytes"] - before["server"]["bytes"]
        cached = after["cache"]["bytes_read"] - before["cache"]["bytes_read"]
        assert cached >= 0.95 * size
        shares.append(1 - fetched / size)
        assert all(same_content(file, through(mounted, file)) for file in files)
    print(f"{kills} kills of the daemon: from the cache {min(shares):.1%} at the least")
    assert min(shares) >= 0.95
    for file in files:
        file.unlink()


def read_until(path: Path, end: float) -> None:
    """Read ``path`` again and again until the clock says ``end``."""
    while time.monotonic() < end:
        assert Reader(path, "direct").process.wait(20) == 0


def test_killed_daemons_lose_nothing(samba: PrivateSamba, mount) -> None:
    """No wrong byte, no failed mount, and the cache holds what was read two seconds before."""
    kill_daemons(mount(samba, now=False), kills=3, seed=21)


@pytest.mark.soak
@pytest.mark.timeout(900)
def test_twenty_killed_daemons_lose_nothing(samba: PrivateSamba, mount) -> None:
    """The same for long."""
    kill_daemons(mount(samba, now=False), kills=20, seed=22)


def test_kill_in_the_middle_of_storing(samba: PrivateSamba, mount) -> None:
    """A daemon killed in the middle of a cold read, when stores are half done: nothing of what it
    left behind is taken for data that it is not."""
    (file,) = make_files(samba, [64 * MIB], 31)
    mounted: Mounted = mount(samba)
    for part in range(4):
        with Reader(through(mounted, file), "direct", part * 16 * MIB):
            deadline = time.monotonic() + 10
            while answer(mounted)["cache"]["bytes_stored"] < 2 * MIB:
                assert time.monotonic() < deadline, "nothing is stored"
            mounted.kill9()
        mounted.mount()
    assert same_content(file, through(mounted, file))
    file.unlink()
