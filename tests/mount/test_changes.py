"""A change on the server's own disk: who opens the file 20 ms later gets the new bytes.

Whoever still has the old handle gets old or new bytes of its own file, or an error; never those of
another file, and never zeros that stand in neither.
"""

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

from netfsfuse.demo import data
from netfsfuse.demo.samba import PrivateSamba
from tests.mount.reading import MIB, WAYS, content, opened, pread, wait_settled
from tests.support.mounted import Mounted

Mount = Callable[..., Mounted]

PROMISED = 0.02
"""Seconds after a change within which the next open must show it."""
SIZE = 5 * MIB + 1234


def body(version: int, size: int = SIZE) -> bytes:
    """Every 4 KiB of a version tell which one it is, and no byte of it is zero."""
    line = (b"version %06d of this file; " % version).ljust(32, b"#")
    return (line * (size // len(line) + 1))[:size]


def write_in_place(path: Path, content: bytes) -> None:
    """New bytes into the same inode, which is never shorter than before."""
    with path.open("r+b", buffering=0) as file:
        file.write(content)


def truncate(path: Path, content: bytes) -> None:
    os.truncate(path, len(content))


def grow(path: Path, content: bytes) -> None:
    with path.open("ab", buffering=0) as file:
        file.write(content[path.stat().st_size :])


def rewrite(path: Path, content: bytes) -> None:
    """As a shell's ``>``: to nothing first."""
    path.write_bytes(content)


def save_atomically(path: Path, content: bytes) -> None:
    """As an editor does: another inode takes the name."""
    path.with_name("saved").write_bytes(content)
    path.with_name("saved").rename(path)


class NumberTaken(Exception):
    """Somebody else on this disk was given the inode number."""


def make_anew(path: Path, content: bytes) -> None:
    """Delete and make anew with the same inode number: ext4 hands out the lowest free one, as soon
    as the server has closed the file.
    """
    number = path.stat().st_ino
    deadline = time.monotonic() + 1.0
    path.unlink()
    spares: list[Path] = []
    try:
        while True:
            path.write_bytes(content)
            if path.stat().st_ino == number:
                return
            if time.monotonic() > deadline:
                raise NumberTaken
            if len(spares) < 20:  # numbers below the one we want are filled up
                spares.append(path.rename(path.with_name(f"spare-{len(spares)}")))
            else:
                path.unlink()
    finally:
        for spare in spares:
            spare.unlink()


CHANGES: dict[str, tuple[Callable[[Path, bytes], None], int]] = {
    "same size": (write_in_place, SIZE),
    "same size, rewritten": (rewrite, SIZE),
    "growth": (grow, SIZE + 2 * MIB + 1),
    "truncation": (truncate, MIB + 77),
    "truncation to nothing": (truncate, 0),
    "rewritten shorter": (rewrite, 4097),
    "saved atomically": (save_atomically, SIZE),
    "made anew": (make_anew, SIZE),
    "made anew, longer": (make_anew, SIZE + MIB),
}


@pytest.fixture(scope="module")
def folder(samba: PrivateSamba) -> Path:
    path = samba.path / "changes"
    path.mkdir()
    return path


@pytest.mark.parametrize("options", ["fsc", "nofsc", "actimeo=60"])
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


@pytest.mark.parametrize("options", ["actimeo=60", "fsc"])
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


@pytest.mark.parametrize("direct", WAYS)
def test_old_handle_reads_its_own_file(
    folder: Path, samba: PrivateSamba, mount: Mount, direct: bool
) -> None:
    """Before, between and after opens of the changed file, an old handle reads old or new bytes of
    the file it was opened on. Page by page: a change may be seen half way.
    """
    mounted = mount(samba)
    changes = {n: c for n, c in CHANGES.items() if c[0] is not make_anew}
    changes["deleted"] = (lambda path, _: path.unlink(), 0)
    for number, (name, (change, size)) in enumerate(changes.items()):
        there = folder / f"held-{number}"
        here = mounted.path / folder.name / there.name
        old = body(3000 + number)
        new = body(3000 + number if change in (truncate, grow) else 4000 + number, size)
        rewrite(there, old)
        wait_settled(there)
        own = (old,) if change is save_atomically or name == "deleted" else (old, new)
        with opened(here, direct=direct) as fd:
            assert pread(fd, 0, MIB) == old[:MIB]
            change(there, new)
            check_own(fd, own, name)
            time.sleep(PROMISED)
            if name == "deleted":
                with pytest.raises(FileNotFoundError):
                    content(here)
            else:
                assert content(here) == new, name
            check_own(fd, own, name)
            if name != "deleted":
                assert content(here, direct=True) == content(here) == new, name


def check_own(fd: int, versions: tuple[bytes, ...], name: str) -> None:
    """Read the whole file by an old handle: each page stands in a version at that place."""
    position = 0
    while position < SIZE + 3 * MIB:
        try:
            got = pread(fd, position, 294_912)
        except OSError:
            return
        for start in range(0, len(got), 4096):
            piece = got[start : start + 4096]
            at = position + start
            assert any(v[at : at + len(piece)] == piece for v in versions), (name, at, piece[:64])
        if len(got) < 294_912:
            return
        position += len(got)


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
    mounted = mount(samba)
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


@pytest.mark.parametrize("direct", WAYS)
@pytest.mark.parametrize("rounds", [8, pytest.param(300, marks=pytest.mark.soak)])
def test_file_that_shrinks_while_it_is_read(
    folder: Path, samba: PrivateSamba, mount: Mount, direct: bool, rounds: int
) -> None:
    """No hang, no zeros: the reader gets a beginning of the old bytes, then the end or an error,
    and the end soon.
    """
    mounted = mount(samba)
    left = 10_000_001
    old = body(7, 24 * MIB)
    for number in range(rounds):
        there = folder / f"shrinking-{number}"
        here = mounted.path / folder.name / there.name
        rewrite(there, old)
        wait_settled(there)
        with opened(here, direct=direct) as fd:
            position = 0
            while position < 2_000_000:
                position += len(pread(fd, position, 200_000))
            os.truncate(there, left)
            while piece := until(lambda at=position, fd=fd: pread(fd, at, 200_000)):
                assert piece == old[position : position + len(piece)]
                position += len(piece)
            assert position >= left
        time.sleep(PROMISED)
        assert content(here, direct=direct) == old[:left]
        there.unlink()


@pytest.mark.parametrize("settled", WAYS)
def test_growth_is_seen_through_an_old_handle(
    folder: Path, samba: PrivateSamba, mount: Mount, settled: bool
) -> None:
    """``tail -f``: what is appended comes within about 2 s, whole and once, by the same handle;
    also when the file was being written to as it was opened.
    """
    there = folder / f"growing-{settled}.log"
    mounted = mount(samba)
    here = mounted.path / folder.name / there.name
    there.write_bytes(b"first line\n")
    if settled:
        wait_settled(there)
    with here.open("rb", buffering=0) as tail:
        assert tail.read(1000) == b"first line\n"
        assert tail.read(1000) == b""
        for line in (b"second line\n", b"third\n" * 2000):
            with there.open("ab", buffering=0) as log:
                log.write(line)
            deadline = time.monotonic() + 2.5
            got = b""
            while got != line:
                assert line.startswith(got)
                assert time.monotonic() < deadline, got[:100]
                got += tail.read(100_000)


def test_folder_becomes_a_file_and_back(folder: Path, samba: PrivateSamba, mount: Mount) -> None:
    """What was the other kind of thing is seen for what it is once names have aged, and what is
    read on the way is right or an error.
    """
    mounted = mount(samba)
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


def until(act: Callable[[], object]) -> object:
    """What ``act`` returns once it neither raises OSError nor returns None: names may be trusted
    for ``actimeo``, one second.
    """
    deadline = time.monotonic() + 2.5
    while True:
        try:
            result = act()
            if result is not None:
                return result
            failed: object = result
        except OSError as error:
            failed = error
        assert time.monotonic() < deadline, failed
        time.sleep(0.01)


def test_folder_replaced_by_another_with_the_same_names(
    folder: Path, samba: PrivateSamba, mount: Mount
) -> None:
    """A path that leads elsewhere now is followed there 20 ms later, whatever names are cached."""
    mounted = mount(samba)
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
