"""What a program's own writes cost, and what they leave known: nothing is asked or read again."""

from __future__ import annotations

import mmap
import os
import subprocess
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from netfsfuse.lab.server.samba import PrivateSamba
from tests.mount.reading import MIB, compare, content, tell_cached, wait_settled
from tests.mount.test_messages import Cost, messages
from tests.support.kernel_calls import KernelCalls
from tests.support.mounted import Mounted
from tests.support.proxy import PrivateProxy
from tests.support.until import until

Mount = Callable[..., Mounted]

BLOCK = 64 * 1024
"""Of the disk cache."""
ECHOES_SECONDS = 2.5
"""Within which the server has told of what we did ourselves, and names have outlived actimeo."""


@pytest.fixture
def folder(samba: PrivateSamba) -> Path:
    return Path(tempfile.mkdtemp(dir=samba.path))


def test_no_question_about_what_was_written(
    samba: PrivateSamba, folder: Path, mount: Mount
) -> None:
    """The kernel is told nothing, and asks for no name again; neither do we ask the server."""
    mounted = mount(samba)
    here = mounted.path / folder.name
    os.listdir(here)
    with KernelCalls(mounted.pid) as calls:
        for number in range(10):
            (here / f"f{number}").write_bytes(b"x" * 10_000)
        before = messages(mounted)
        for number in range(10):
            assert (here / f"f{number}").stat().st_size == 10_000
        assert len(os.listdir(here)) == 10
        assert not (here / "absent").exists()
        after = messages(mounted)
    asking = ("query_directory", "query_info", "read")  # closes may be on their way still
    assert [after.get(name, 0) - before.get(name, 0) for name in asking] == [0, 0, 0]
    assert calls.told["invalidate inode"] == calls.told["invalidate entry"] == 0, calls.told
    assert calls.asked["lookup"] <= 10 + 2, calls.asked  # before each create; and the absent one
    assert calls.asked["create"] == 10


def test_pages_stay_when_echoes_arrive(samba: PrivateSamba, folder: Path, mount: Mount) -> None:
    """The server tells of each write of ours what it tells of others'. What is read again from it
    is the blocks of the disk cache that were written in part."""
    size = 2 * MIB
    (folder / "f").write_bytes(os.urandom(size))
    wait_settled(folder / "f")
    mounted = mount(samba)
    here = mounted.path / folder.name / "f"
    content(here)
    with KernelCalls(mounted.pid) as calls:
        for start in (0, 70_000, size - 10):
            with here.open("r+b", buffering=0) as file:
                file.seek(start)
                file.write(b"own")
        time.sleep(ECHOES_SECONDS)  # for what must not come, there is nothing to wait for
        assert tell_cached(mounted, here) <= 3 * BLOCK
        compare(here, folder / "f")
    assert calls.told["invalidate inode"] == calls.told["invalidate entry"] == 0, calls.told


def test_few_questions_for_capabilities(samba: PrivateSamba, folder: Path, mount: Mount) -> None:
    """The kernel asks for security.capability at each write(2), unless it need not."""
    mounted = mount(samba)
    here = mounted.path / folder.name
    with KernelCalls(mounted.pid) as calls:
        fd = os.open(here / "f", os.O_WRONLY | os.O_CREAT)
        for _ in range(200):
            os.write(fd, b"x" * 4096)
        os.close(fd)
    assert calls.asked["getxattr"] <= 2, calls.asked
    assert calls.asked["write"] == 200


@pytest.mark.alone  # it measures time
def test_round_trips_of_a_small_file(
    samba: PrivateSamba, folder: Path, mount: Mount, proxy: Callable[..., PrivateProxy]
) -> None:
    """Create, write, set times, close: one by one, as tar does, in a folder that is known, and so
    are those above it."""
    delay, count = 0.05, 20
    line = proxy(samba.port, delay)
    mounted = mount(samba, source=f"//127.0.0.1:{line.port}/{samba.share}")
    here = mounted.path / folder.name
    os.listdir(mounted.path)
    os.listdir(here)

    def make(name: str) -> None:
        fd = os.open(here / name, os.O_WRONLY | os.O_CREAT | os.O_EXCL)
        os.write(fd, b"x" * 4096)
        os.utime(fd, (1_600_000_000, 1_600_000_000))
        os.close(fd)

    for number in range(3):  # what is learnt once
        make(f"first-{number}")
    begin = time.monotonic()
    with Cost(mounted) as cost:
        for number in range(count):
            make(f"f{number}")
        taken = time.monotonic() - begin
    for number in range(count):
        there = folder / f"f{number}"
        assert there.read_bytes() == b"x" * 4096
        # Samba shows its own users a time that was set once the file is closed, which close(2)
        # does not wait for.
        until(lambda there=there: there.stat().st_mtime == 1_600_000_000, 3.0, "its time is set")
    trip = mounted.stats()["server"]["round_trip_ms"] / 1000  # what the proxy really makes of it
    assert delay <= trip <= 1.5 * delay
    assert taken / count / trip <= 2.2, (trip, cost.sent)


@pytest.mark.parametrize("flags", [0, os.O_DIRECT])
def test_a_reader_sees_what_was_cut_by_name(
    samba: PrivateSamba, folder: Path, mount: Mount, flags: int
) -> None:
    """Opened a moment after the file was made, and so by a content of its own."""
    size = MIB
    here = mount(samba).path / folder.name / "f"
    here.write_bytes(os.urandom(size))
    fd = os.open(here, os.O_RDONLY | flags)
    try:
        with mmap.mmap(-1, size) as buffer:
            assert os.preadv(fd, [buffer], 0) == size
            os.truncate(here, 5000)
            assert os.preadv(fd, [buffer], 0) == 5000
            os.truncate(here, size)
            assert os.preadv(fd, [buffer], 0) == size
            assert buffer[5000:] == bytes(size - 5000)
    finally:
        os.close(fd)


@pytest.mark.parametrize("stays", [True, False])
def test_a_copied_file_is_warm(
    samba: PrivateSamba, folder: Path, mount: Mount, tmp_path: Path, stays: bool
) -> None:
    """For another mount of the same cache, while the first one is there and when it is gone."""
    size = 32 * MIB + 4321
    source = tmp_path / "source"
    source.write_bytes(os.urandom(size))
    mounted = mount(samba)
    subprocess.run(["cp", source, mounted.path / folder.name / "f"], check=True, timeout=60)
    until(lambda: mounted.stats()["cache"]["bytes_stored"] >= size * 0.99, 10.0, "all is stored")
    if not stays:
        mounted.umount()
    second = mount(samba, cachedir=mounted.cachedir)
    here = second.path / folder.name / "f"
    assert tell_cached(second, here) < size / 100
    compare(here, source)
    if stays:
        assert tell_cached(mounted, mounted.path / folder.name / "f") < size / 100


@pytest.mark.parametrize("stays", [True, False])
def test_a_file_that_was_saved_is_warm(
    samba: PrivateSamba, folder: Path, mount: Mount, stays: bool
) -> None:
    """Written under another name and renamed over the file, as editors do it, three times."""
    size = 2 * MIB + 77
    mounted = mount(samba)
    here = mounted.path / folder.name
    for number in range(3):
        saved = os.urandom(size + number)
        (here / f"new{number}").write_bytes(saved)
        (here / f"new{number}").rename(here / "f")
        assert content(here / "f") == saved
    stored = sum(size + number for number in range(3)) * 0.99
    until(lambda: mounted.stats()["cache"]["bytes_stored"] >= stored, 10.0, "all is stored")
    if not stays:
        mounted.umount()
    second = mount(samba, cachedir=mounted.cachedir)
    assert content(second.path / folder.name / "f") == saved
    stats = second.stats()
    assert stats["server"]["bytes"] < size / 100
    assert stats["cache"]["bytes_read"] >= size


@pytest.mark.parametrize(
    "size",
    [64 * MIB, pytest.param(1024 * MIB, marks=[pytest.mark.soak, pytest.mark.timeout(600)])],
)
def test_an_overwrite_costs_a_block(
    samba: PrivateSamba, folder: Path, mount: Mount, size: int
) -> None:
    """4 KiB in the middle of a cached file: all else of it stays cached."""
    there = folder / "f"
    with there.open("wb") as file:
        file.truncate(size)
        for start in range(0, size, size // 16):
            file.seek(start)
            file.write(os.urandom(BLOCK))
    wait_settled(there)
    mounted = mount(samba)
    here = mounted.path / folder.name / "f"
    content(here)
    mounted.remount()
    assert tell_cached(mounted, here) == 0
    with here.open("r+b", buffering=0) as file:
        file.seek(size // 2 + 8192)
        file.write(b"new!" * 1024)
    compare(here, there)
    mounted.remount()
    assert tell_cached(mounted, here) <= BLOCK
    compare(here, there)
