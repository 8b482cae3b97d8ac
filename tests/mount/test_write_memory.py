"""What a mount takes in memory while much is written: bounded, whatever line and writers."""

from __future__ import annotations

import os
import subprocess
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from netfsfuse.lab.server.samba import PrivateSamba
from tests.mount.reading import MIB
from tests.support.mounted import Mounted
from tests.support.proxy import PrivateProxy

Mount = Callable[..., Mounted]

GIB = 1024 * MIB
EIGHT_WRITERS = 200 * MIB
MANY_WRITERS = 250 * MIB
SAMPLE_SECONDS = 0.1


@pytest.fixture
def folder(samba: PrivateSamba) -> Path:
    return Path(tempfile.mkdtemp(dir=samba.path))


def resident(pid: int) -> int:
    """Bytes."""
    return int(Path(f"/proc/{pid}/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")


@contextmanager
def sampled(pid: int) -> Iterator[list[int]]:
    """What was resident, all the time within the block."""
    samples: list[int] = [resident(pid)]
    over = threading.Event()

    def sample() -> None:
        while not over.wait(SAMPLE_SECONDS):
            samples.append(resident(pid))

    thread = threading.Thread(target=sample)
    thread.start()
    try:
        yield samples
    finally:
        over.set()
        thread.join()


def write_side_by_side(folder: Path, writers: int, size: int) -> None:
    """``dd`` of zeros, each to a file of its own, until all is on the server."""
    words = ["dd", "if=/dev/zero", "bs=1M", f"count={size // MIB}", "conv=fsync", "status=none"]
    running = [subprocess.Popen([*words, f"of={folder / str(n)}"]) for n in range(writers)]
    assert [process.wait(600) for process in running] == [0] * writers


@pytest.mark.parametrize(
    "size", [12 * MIB, pytest.param(256 * MIB, marks=[pytest.mark.soak, pytest.mark.timeout(900)])]
)
@pytest.mark.parametrize("options", ["fsc", "nofsc"])
def test_eight_writers_at_a_distance(
    samba: PrivateSamba,
    folder: Path,
    mount: Mount,
    proxy: Callable[..., PrivateProxy],
    options: str,
    size: int,
) -> None:
    line = proxy(samba.port, 0.05)
    mounted = mount(samba, options, source=f"//127.0.0.1:{line.port}/{samba.share}")
    with sampled(mounted.pid) as samples:
        write_side_by_side(mounted.path / folder.name, 8, size)
    assert max(samples) < EIGHT_WRITERS, f"{max(samples) / MIB:.0f} MiB"
    assert all((folder / str(n)).stat().st_size == size for n in range(8))


@pytest.mark.soak
@pytest.mark.timeout(900)
def test_many_writers(
    samba: PrivateSamba, folder: Path, mount: Mount, proxy: Callable[..., PrivateProxy]
) -> None:
    """Two hundred with requests of 1 MiB each."""
    line = proxy(samba.port, 0.01)
    mounted = mount(samba, source=f"//127.0.0.1:{line.port}/{samba.share}")
    with sampled(mounted.pid) as samples:
        write_side_by_side(mounted.path / folder.name, 200, 16 * MIB)
    assert max(samples) < MANY_WRITERS, f"{max(samples) / MIB:.0f} MiB"


@pytest.mark.soak
@pytest.mark.timeout(1800)
@pytest.mark.parametrize("options", ["cachesize=2G", "nofsc"])
def test_a_large_write_is_flat(
    samba: PrivateSamba, folder: Path, mount: Mount, options: str
) -> None:
    """20 GiB: what the second half takes is what the first has taken."""
    mounted = mount(samba, options)
    size = 20 * GIB
    piece = os.urandom(4 * MIB)
    begin = time.monotonic()
    target = mounted.path / folder.name / "f"
    with sampled(mounted.pid) as samples, target.open("wb", buffering=0) as file:
        for _ in range(size // len(piece)):
            file.write(piece)
        os.fsync(file.fileno())
    half = len(samples) // 2
    print(f"{size / MIB / (time.monotonic() - begin):.0f} MiB/s, {max(samples) / MIB:.0f} MiB")
    assert max(samples[half:]) < max(samples[:half]) + 16 * MIB
    assert (folder / "f").stat().st_size == size
    (folder / "f").unlink()
