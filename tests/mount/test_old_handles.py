"""A handle that was open before its file changed: old or new bytes of its own file, or an error.

Never those of another file, and never zeros that stand in no version of it.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

import pytest

from netfsfuse.lab.server.samba import PrivateSamba
from tests.mount.changing import (
    CHANGES,
    PROMISED,
    SIZE,
    body,
    grow,
    make_anew,
    rewrite,
    save_atomically,
    truncate,
    until,
)
from tests.mount.reading import MIB, WAYS, content, is_own, opened, pread, wait_settled
from tests.support.mounted import Mounted

Mount = Callable[..., Mounted]


@pytest.fixture(scope="module")
def folder(samba: PrivateSamba) -> Path:
    path = samba.path / "old-handles"
    path.mkdir()
    return path


@pytest.mark.parametrize("direct", WAYS)
def test_old_handle_reads_its_own_file(
    folder: Path, samba: PrivateSamba, mount: Mount, direct: bool
) -> None:
    """Before, between and after opens of the changed file, an old handle reads old or new bytes of
    the file it was opened on. Page by page: a change may be seen half way.
    """
    mounted = mount(samba, "nolease")
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


@pytest.mark.parametrize("again", [False, True], ids=["first open", "from memory"])
@pytest.mark.parametrize("size", [100, 50_000, 12 * MIB])
def test_a_file_replaced_by_rename_goes_on_for_its_reader(
    folder: Path, samba: PrivateSamba, mount: Mount, size: int, again: bool
) -> None:
    """Log rotation, and an atomic save, as the kernel asks for attributes before each read."""
    there = folder / f"replaced-{size}-{again}"
    old = body(1, size)
    there.write_bytes(old)
    wait_settled(there)
    mounted = mount(samba, "actimeo=0" if not again else "actimeo=1")
    here = mounted.path / folder.name / there.name
    if again:  # and with no handle on the server, until it is held
        os.listdir(here.parent)
        assert content(here) == old
    with here.open("rb", buffering=0) as file:
        assert file.read(50) == old[:50]
        time.sleep(0.3 if again else 0)  # it is held open on the server by then
        save_atomically(there, body(2, size))
        deadline = time.monotonic() + (1.2 if again else 0)
        while True:
            assert os.fstat(file.fileno()).st_size == size
            if time.monotonic() >= deadline:
                break
            time.sleep(0.2)
        got = b"".join(iter(lambda: file.read(400_000), b""))
        assert got == old[50:]
        there.unlink()
        assert os.fstat(file.fileno()).st_size == size
        file.seek(0)
        assert file.read(50) == old[:50]


def test_a_number_given_to_a_new_file_gives_it_no_old_reader(
    folder: Path, samba: PrivateSamba, mount: Mount
) -> None:
    """Creation times are made up here, so a new file of the old number looks like the old one
    changed. Opened from memory, a small file has no handle on the server yet to keep its number."""
    mounted = mount(samba)
    place = folder / "given-away"
    place.mkdir()
    names = [str(number) for number in range(10)]
    old, new = body(1, 3000), body(2, 5000)
    for name in names:
        (place / name).write_bytes(old)
    wait_settled(place / names[-1])
    here = mounted.path / folder.name / place.name
    for name in os.listdir(here):
        assert content(here / name) == old
    time.sleep(2.1)  # from here on opens come from memory
    for late in (False, True):
        files = [(here / name).open("rb", buffering=0) for name in names[5 * late :][:5]]
        time.sleep(0.3 * late)  # they are held then
        for name in names[5 * late :][:5]:
            (place / name).unlink()
            (place / name).write_bytes(new)
        time.sleep(1.1)  # the kernel asks for attributes
        for file in files:
            got = b""
            with suppress(OSError):
                got = os.pread(file.fileno(), 10_000, 0)
            assert got == old[: len(got)]
            assert got == old or not late
            with suppress(OSError):
                file.close()


def check_own(fd: int, versions: tuple[bytes, ...], name: str) -> None:
    """Read the whole file by an old handle: each page is that of a version of its own file."""
    position = 0
    while position < SIZE + 3 * MIB:
        try:
            got = pread(fd, position, 294_912)
        except OSError:
            return
        for start in range(0, len(got), 4096):
            piece = got[start : start + 4096]
            at = position + start
            assert is_own(piece, at, versions), (name, at, piece[:64])
        if len(got) < 294_912:
            return
        position += len(got)


@pytest.mark.parametrize("direct", WAYS)
@pytest.mark.parametrize("rounds", [8, pytest.param(300, marks=pytest.mark.soak)])
def test_file_that_shrinks_while_it_is_read(
    folder: Path, samba: PrivateSamba, mount: Mount, direct: bool, rounds: int
) -> None:
    """No hang, no wrong byte of what is left: the reader gets a beginning of the old bytes, then
    the end or an error, and the end soon.

    Behind the new end there may be zeros in what was being read while the file was cut: the
    server's kernel looks at the size once, and truncation zeroes the rest of the folio (2 MiB on
    ext4, Linux 6.18) while the copy from it still runs. A local reader gets them just so: in 151 of
    185 reads of 200,000 bytes that overlapped the cut, where the copy was slow.
    """
    mounted = mount(samba, "nolease")
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
                right = old[position : position + len(piece)]
                if piece != right:
                    wrong = next(at for at, byte in enumerate(piece) if byte != right[at])
                    where = f"a wrong byte {wrong} of {len(piece)} behind {position}"
                    assert position + wrong >= left, where
                    assert not piece[wrong:].strip(b"\0"), where
                position += len(piece)
            assert position >= left
        time.sleep(PROMISED)
        assert content(here, direct=direct) == old[:left]
        there.unlink()


@pytest.mark.alone  # 2 s are promised
@pytest.mark.parametrize("settled", WAYS)
def test_growth_is_seen_through_an_old_handle(
    folder: Path, samba: PrivateSamba, mount: Mount, settled: bool
) -> None:
    """``tail -f``: what is appended comes within about 2 s, whole and once, by the same handle;
    also when the file was being written to as it was opened.
    """
    there = folder / f"growing-{settled}.log"
    mounted = mount(samba, "nolease")
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
