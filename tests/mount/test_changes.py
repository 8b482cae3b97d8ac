"""A change on the server's own disk: who opens the file 20 ms later gets the new bytes, where every
open asks the server (``nolease``). What else is promised is in ``test_remote_changes.py``."""

from __future__ import annotations

import itertools
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
import smbclient

from netfsfuse.lab.server import data
from netfsfuse.lab.server.samba import PrivateSamba
from tests.mount.changing import (
    CHANGES,
    PROMISED,
    SIZE,
    NumberTaken,
    body,
    grow,
    make_anew,
    rewrite,
    save_atomically,
    truncate,
    until,
    write_in_place,
)
from tests.mount.reading import WAYS, content, wait_settled
from tests.support.mounted import Mounted

Mount = Callable[..., Mounted]


@pytest.fixture(scope="module")
def folder(samba: PrivateSamba) -> Path:
    path = samba.path / "changes"
    path.mkdir()
    return path


@pytest.mark.alone  # 20 ms are measured
@pytest.mark.parametrize("options", ["nolease,fsc", "nolease,nofsc,actimeo=60"])
def test_reopen_after_20_ms_sees_the_change(
    folder: Path, samba: PrivateSamba, mount: Mount, options: str
) -> None:
    """Each kind of change, of a file that kernel, memory and cache know well, and of one read only
    a moment ago.
    """
    mounted = mount(samba, options)
    for name, settled, direct in itertools.product(CHANGES, WAYS, WAYS):
        there = folder / name.replace(" ", "-")
        here = mounted.path / folder.name / there.name
        for _ in range(20):
            try:
                check_reopen(there, here, name, settled, direct)
                break
            except NumberTaken:
                continue
        else:
            pytest.fail("no inode number was handed out again")
        there.unlink()


@pytest.mark.parametrize("options", ["nolease,actimeo=60", "nolease,fsc"])
def test_the_same_with_a_creation_time_that_stays(
    folder: Path, samba: PrivateSamba, mount: Mount, options: str
) -> None:
    """Samba makes up the creation time of a file made on its own disk, and it moves with changes,
    so that the kernel is shown another inode. Of a file made by an SMB client it is stored: then
    the kernel goes on with the inode, and must be told that its pages and sizes are not right.
    """
    mounted = mount(samba, options)
    there = folder / f"born-{options}"
    server = {"username": samba.username, "password": samba.password, "port": samba.port}
    with smbclient.open_file(
        rf"\\{samba.host}\{samba.share}\{folder.name}\{there.name}", mode="wb", **server
    ) as made:
        made.write(b"made by a client")
    smbclient.reset_connection_cache()
    here = mounted.path / folder.name / there.name
    number = here.stat().st_ino
    for name in [name for name in CHANGES if CHANGES[name][0] not in (save_atomically, make_anew)]:
        for settled, direct in itertools.product(WAYS, WAYS):
            check_reopen(there, here, name, settled, direct)
    assert here.stat().st_ino == number


def check_reopen(there: Path, here: Path, name: str, settled: bool, direct: bool) -> None:
    """Read, change, wait, read again."""
    change, size = CHANGES[name]
    old = body(1)
    new = body(1 if change in (truncate, grow) else 2, size)
    rewrite(there, old)
    if settled:
        wait_settled(there)
    assert content(here, direct=direct) == content(here) == old
    change(there, new)
    time.sleep(PROMISED)
    assert content(here, direct=direct) == new, (name, settled, direct)
    assert content(here, direct=not direct) == new, (name, settled, direct)
    assert here.stat().st_size == size


LOOP = """
import os, sys
path, direct = sys.argv[1], sys.argv[2] == "True"
print("ready", flush=True)
while True:
    try:
        fd = os.open(path, os.O_RDONLY | (os.O_DIRECT if direct else 0))
        try:
            while os.read(fd, 70_000):
                pass
        finally:
            os.close(fd)
    except OSError:
        pass
"""


@contextmanager
def reading_in_a_loop(path: Path) -> Iterator[None]:
    """Two other processes that open, read and close the file without end, one of them direct."""
    loops = [
        subprocess.Popen([sys.executable, "-c", LOOP, path, str(way)], stdout=subprocess.PIPE)
        for way in WAYS
    ]
    try:
        for loop in loops:
            assert loop.stdout is not None
            assert loop.stdout.readline() == b"ready\n"
        yield
        assert [loop.poll() for loop in loops] == [None, None]
    finally:
        for loop in loops:
            loop.kill()
            with loop:
                pass


@pytest.mark.parametrize(
    "rounds", [12, pytest.param(500, marks=[pytest.mark.soak, pytest.mark.timeout(1500)])]
)
def test_reopen_sees_the_change_while_others_read(
    folder: Path, samba: PrivateSamba, mount: Mount, rounds: int
) -> None:
    """The same with two processes that read the file all the time, so that there are always
    handles of several generations, reads in flight, and pages being filled.
    """
    there = folder / "busy"
    mounted = mount(samba, "nolease")
    here = mounted.path / folder.name / there.name
    rewrite(there, body(0))
    kinds = [write_in_place, rewrite, save_atomically]
    with reading_in_a_loop(here):
        for version in range(1, rounds + 1):
            new = body(version, SIZE + version % 3 * 4000)
            kinds[version % len(kinds)](there, new[:SIZE] if version % 3 == 0 else new)
            new = there.read_bytes()
            time.sleep(PROMISED)
            assert content(here, direct=bool(version % 2)) == new, version
            assert content(here, direct=not version % 2) == new, version
    assert mounted.stats()["application"]["errors"] == 0


def test_folder_becomes_a_file_and_back(folder: Path, samba: PrivateSamba, mount: Mount) -> None:
    """What was the other kind of thing is seen for what it is once names have aged, and what is
    read on the way is right or an error.
    """
    mounted = mount(samba, "nolease")
    there = folder / "changing"
    here = mounted.path / folder.name / there.name
    for version in range(2):
        there.mkdir()
        (there / "inner").write_bytes(body(version, 50_000))
        assert until(lambda: os.listdir(here)) == ["inner"]
        assert content(here / "inner") == body(version, 50_000)
        shutil.rmtree(there)
        there.write_bytes(body(100 + version, 60_000))
        assert until(lambda: content(here)) == body(100 + version, 60_000)
        with pytest.raises((NotADirectoryError, FileNotFoundError)):
            os.listdir(here)
        with pytest.raises((NotADirectoryError, FileNotFoundError)):
            content(here / "inner")
        there.unlink()
    until(lambda: not here.exists() or None)


def test_folder_replaced_by_another_with_the_same_names(
    folder: Path, samba: PrivateSamba, mount: Mount
) -> None:
    """A path that leads elsewhere now is followed there 20 ms later, whatever names are cached."""
    mounted = mount(samba, "nolease")
    for version in (1, 2):
        (folder / f"release-{version}").mkdir()
        for name in "ab":
            data.write_file(folder / f"release-{version}" / name, 100_000, seed=f"{version}{name}")
    (folder / "release-1").rename(folder / "current")
    wait_settled(folder / "current")
    here = mounted.path / folder.name / "current"
    for name in "ab":
        assert content(here / name) == (folder / "current" / name).read_bytes()
    (folder / "current").rename(folder / "release-1")
    (folder / "release-2").rename(folder / "current")
    time.sleep(PROMISED)
    for name in "ab":
        assert content(here / name) == (folder / "current" / name).read_bytes()
