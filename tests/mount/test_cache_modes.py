"""cache=none and cache=loose by the real command."""

from __future__ import annotations

import mmap
import os
import subprocess
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from netfsfuse.lab.server import data
from netfsfuse.lab.server.samba import PrivateSamba
from tests.support.mounted import Mounted

Mount = Callable[..., Mounted]
MIB = 1024 * 1024


@pytest.fixture
def folder(samba: PrivateSamba) -> Path:
    folder = Path(tempfile.mkdtemp(dir=samba.path))
    data.write_file(folder / "big", 3 * MIB + 17)
    (folder / "small").write_bytes(b"small")
    (folder / "script").write_text("#!/bin/sh\necho ran\n")
    time.sleep(0.1)
    return folder


def test_none_reads_all_from_the_server_each_time(
    samba: PrivateSamba, folder: Path, mount: Mount
) -> None:
    mounted = mount(samba, "cache=none")
    here = mounted.path / folder.name
    expected = (folder / "big").read_bytes()
    for times in (1, 2, 3):
        assert (here / "big").read_bytes() == expected
        assert mounted.stats()["server"]["bytes"] == times * len(expected)
    assert mounted.stats()["cache"]["enabled"] is False
    assert (here / "small").read_bytes() == b"small"
    assert (here / "script").read_text() == (folder / "script").read_text()


def test_none_shows_a_change_to_a_reader_at_once(
    samba: PrivateSamba, folder: Path, mount: Mount
) -> None:
    """No open comes between."""
    mounted = mount(samba, "cache=none")
    with (mounted.path / folder.name / "small").open("rb", buffering=0) as file:
        assert file.read(5) == b"small"
        with (folder / "small").open("r+b") as there:
            there.write(b"SMALL")
        file.seek(0)
        assert file.read(5) == b"SMALL"


def test_none_still_runs_and_maps(samba: PrivateSamba, folder: Path, mount: Mount) -> None:
    """Programs and libraries, and shared mappings (numpy, LMDB), which libfuse forbids here. Each
    mmap(2) asks anew, and so does read(2) beside it."""
    mounted = mount(samba, "cache=none")
    here = mounted.path / folder.name
    assert subprocess.run([here / "script"], capture_output=True, check=True).stdout == b"ran\n"
    fd = os.open(here / "big", os.O_RDONLY)
    try:
        for kind in (mmap.MAP_PRIVATE, mmap.MAP_SHARED):
            with mmap.mmap(fd, 0, kind, mmap.PROT_READ) as mapped:
                content = (folder / "big").read_bytes()
                assert mapped[:] == content
                before = mounted.stats()["server"]["bytes"]
                assert os.pread(fd, MIB, MIB) == content[MIB : 2 * MIB]
                assert mounted.stats()["server"]["bytes"] - before == MIB
            with (folder / "big").open("r+b") as there:
                there.write(os.urandom(5000))
    finally:
        os.close(fd)


def test_none_maps_what_is_read_and_written(
    samba: PrivateSamba, folder: Path, mount: Mount
) -> None:
    """O_RDWR and MAP_SHARED, as SQLite's WAL and databases have it."""
    mounted = mount(samba, "cache=none")
    fd = os.open(mounted.path / folder.name / "big", os.O_RDWR)
    try:
        with mmap.mmap(fd, 0, mmap.MAP_SHARED, mmap.PROT_READ | mmap.PROT_WRITE) as mapped:
            before = mapped[:]
            mapped[MIB : MIB + 5] = b"later"
            mapped.flush()
            expected = before[:MIB] + b"later" + before[MIB + 5 :]
            assert os.pread(fd, 10, MIB) == expected[MIB : MIB + 10]
        os.fsync(fd)
        assert (folder / "big").read_bytes() == expected
    finally:
        os.close(fd)


def test_loose_trusts_an_open_for_the_lifetime(
    samba: PrivateSamba, folder: Path, mount: Mount
) -> None:
    mounted = mount(samba, "cache=loose,acregmax=60,acdirmax=0")  # and no watch
    here = mounted.path / folder.name / "small"
    assert here.read_bytes() == b"small"
    before = mounted.stats()["server"]["messages"]
    fds = [os.open(here, os.O_RDONLY) for _ in range(10)]
    for fd in fds:
        os.close(fd)
    after = mounted.stats()["server"]["messages"]
    assert after.get("read", 0) == before.get("read", 0)
    # names are asked for each time, opens are not: a CREATE for each component of the path
    assert after["create"] - before["create"] <= 10 * 3 + 8
