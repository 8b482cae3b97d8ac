"""Names made, removed and renamed through a mount: the server's own disk is the judge."""

from __future__ import annotations

import errno
import os
import random
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import pytest

from netfsfuse.lab.server.samba import PrivateSamba
from netfsfuse.vfs.inodes.directory import CALM
from tests.mount.test_messages import messages
from tests.support.mounted import Mounted

Mount = Callable[..., Mounted]


@pytest.fixture
def folder(any_samba: PrivateSamba) -> Path:
    return Path(tempfile.mkdtemp(dir=any_samba.path))


@pytest.fixture
def mounted(any_samba: PrivateSamba, mount: Mount) -> Mounted:
    return mount(any_samba)


@pytest.fixture
def here(mounted: Mounted, folder: Path) -> Path:
    return mounted.path / folder.name


def tree_of(top: Path) -> list[tuple[str, bytes | None]]:
    return sorted(
        (str(each.relative_to(top)), each.read_bytes() if each.is_file() else None)
        for each in top.rglob("*")
    )


def run(*words: str | Path) -> None:
    done = subprocess.run(words, capture_output=True, text=True, check=False, timeout=60)
    assert done.returncode == 0, done.stderr


def test_a_tree_is_made_moved_and_removed(here: Path, folder: Path) -> None:
    run("mkdir", "-p", here / "a/b/c/d", here / "a/x y/ü 漢")
    for name in ("a/f", "a/b/g", "a/b/c/h"):
        (folder / name).write_bytes(name.encode())
    assert tree_of(here) == tree_of(folder)
    run("mv", here / "a/b/g", here / "a/b/c/gg")
    run("mv", here / "a/b", here / "a/x y/B")
    run("mv", here / "a/f", here / "f")
    assert tree_of(here) == tree_of(folder)
    assert "a/x y/B/c/gg" in dict(tree_of(folder))
    run("rm", "-r", here / "a")
    assert tree_of(folder) == tree_of(here) == [("f", b"a/f")]


ODD = ['a: b*c?"<>|', "end ", "end.", "back\\slash", "-rf", "new\nline", "x" * 255, "é", "e\u0301"]


def test_odd_names(here: Path, folder: Path) -> None:
    for name in ODD:
        (here / name).mkdir()
    assert sorted(os.listdir(here)) == sorted(ODD)
    assert len(list(folder.iterdir())) == len(ODD)
    for name in ODD:
        (here / name).rename(here / f"2{name}"[:255])
        (here / f"2{name}"[:255]).rmdir()
    assert not list(folder.iterdir())
    assert not list(here.iterdir())


def test_refusals_are_those_of_a_local_disk(here: Path, folder: Path) -> None:
    (folder / "d" / "sub").mkdir(parents=True)
    (folder / "empty").mkdir()
    (folder / "f").write_bytes(b"f")
    (folder / "g").write_bytes(b"g")
    for call, code in (
        (lambda: (here / "d").mkdir(), errno.EEXIST),
        (lambda: (here / "f").mkdir(), errno.EEXIST),
        (lambda: (here / "no" / "d").mkdir(), errno.ENOENT),
        (lambda: (here / "f" / "d").mkdir(), errno.ENOTDIR),
        (lambda: (here / "d").rmdir(), errno.ENOTEMPTY),
        (lambda: (here / "f").rmdir(), errno.ENOTDIR),
        (lambda: (here / "d").unlink(), errno.EISDIR),
        (lambda: (here / "no").unlink(), errno.ENOENT),
        (lambda: (here / "no").rmdir(), errno.ENOENT),
        (lambda: (here / "no").rename(here / "new"), errno.ENOENT),
        (lambda: (here / "f").rename(here / "d"), errno.EISDIR),
        (lambda: (here / "d").rename(here / "f"), errno.ENOTDIR),
        (lambda: (here / "empty").rename(here / "d"), errno.ENOTEMPTY),
        (lambda: (here / "d").rename(here / "d" / "sub" / "d"), errno.EINVAL),
        (lambda: (here / ("x" * 256)).mkdir(), errno.ENAMETOOLONG),
        (lambda: (here / ("漢" * 256)).mkdir(), errno.ENAMETOOLONG),
        (lambda: os.mkdir(bytes(here) + b"/\xff"), errno.EINVAL),
        (lambda: os.rename(here / "f", bytes(here) + b"/\xff"), errno.EINVAL),
        (lambda: os.link(here / "f", here / "l"), errno.EPERM),
        (lambda: os.symlink("f", here / "l"), errno.EOPNOTSUPP),
        (lambda: os.mkfifo(here / "l"), errno.EPERM),
    ):
        with pytest.raises(OSError, match=os.strerror(code)):
            call()
    assert [name for name, _ in tree_of(folder)] == ["d", "d/sub", "empty", "f", "g"]
    (here / "f").rename(here / "g")
    (here / "empty").rename(here / "d" / "sub")
    assert tree_of(folder) == tree_of(here) == [("d", None), ("d/sub", None), ("g", b"f")]


def test_another_mount_sees_it(any_samba: PrivateSamba, folder: Path, mount: Mount) -> None:
    one, other = mount(any_samba), mount(any_samba)
    here, there = one.path / folder.name, other.path / folder.name
    (folder / "f").write_bytes(b"f")
    assert os.listdir(there) == os.listdir(here) == ["f"]
    (here / "d").mkdir()
    (here / "f").rename(here / "d" / "g")
    assert eventually(lambda: tree_of(there) == [("d", None), ("d/g", b"f")])
    (there / "d" / "g").unlink()
    (there / "d").rmdir()
    assert eventually(lambda: not os.listdir(here))
    assert not os.listdir(folder)


def eventually(holds: Callable[[], bool]) -> bool:
    """Within the second that is promised, and the time that a busy machine takes. Until then a
    name may be shown whose file has gone."""
    end = time.monotonic() + 3
    while time.monotonic() < end:
        with suppress(FileNotFoundError):
            if holds():
                return True
        time.sleep(0.02)
    return False


def test_a_working_directory_may_be_renamed(here: Path, folder: Path) -> None:
    (folder / "d" / "e").mkdir(parents=True)
    inside = os.open(here / "d" / "e", os.O_PATH)
    try:
        (here / "d").rename(here / "D2")
        os.mkdir("new", dir_fd=inside)
        assert (folder / "D2" / "e" / "new").is_dir()
    finally:
        os.close(inside)


class Sent:
    """Requests sent within the block, by command; but for those that a watch sends for each answer
    that it gets."""

    def __init__(self, mounted: Mounted) -> None:
        self._mounted = mounted
        self.sent: dict[str, int] = {}

    def __enter__(self) -> Sent:
        os.stat(self._mounted.path)
        self._before = messages(self._mounted)
        return self

    def __exit__(self, *_: object) -> None:
        after = messages(self._mounted)
        sent = {name: count - self._before.get(name, 0) for name, count in after.items()}
        del sent["change_notify"]
        self.sent = {name: count for name, count in sent.items() if count}


def test_what_changes_cost(samba: PrivateSamba, mount: Mount) -> None:
    """Themselves, and nothing else: no look-up, no question, no listing, no news for the kernel."""
    folder = Path(tempfile.mkdtemp(dir=samba.path))
    (folder / "d").mkdir()
    for number in range(3):
        (folder / f"f{number}").write_bytes(b"x" * number)
    mounted = mount(samba, "actimeo=30")
    here = mounted.path / folder.name
    names = ["d", "f0", "f1", "f2"]
    with remembered(here, here / "d"):
        assert sorted(os.listdir(here)) == names
        os.listdir(here / "d")
        time.sleep(CALM + 0.5)  # the listing's own changes on the server's disk are over
        check_cost(mounted, here, folder)
        assert sorted(os.listdir(here)) == ["d", "g1"]


@contextmanager
def remembered(*folders: Path) -> Iterator[None]:
    """Whatever else happens on this machine, the kernel forgets none of ``folders``."""
    held = [os.open(folder, os.O_PATH) for folder in folders]
    try:
        yield
    finally:
        for fd in held:
            os.close(fd)


def check_cost(mounted: Mounted, here: Path, folder: Path) -> None:
    before = mounted.stats()["vfs"]
    with Sent(mounted) as cost:
        for number in range(20):
            (here / f"new{number}").mkdir()
    assert cost.sent == {"create": 20, "close": 20}
    with Sent(mounted) as cost:
        (here / "f1").rename(here / "g1")
        (here / "f2").rename(here / "d" / "g2")
    assert cost.sent == {"create": 2, "set_info": 2, "close": 2}
    with Sent(mounted) as cost:
        (here / "f0").unlink()
        for number in range(20):
            (here / f"new{number}").rmdir()
    assert cost.sent == {"create": 21, "set_info": 21, "close": 21}
    with Sent(mounted) as cost:
        for gone in ("f0", "f1", "f2", "new3", "d/no"):
            assert not (here / gone).exists()
        assert (here / "g1").stat().st_size == 1
        assert (here / "d" / "g2").stat().st_size == 2
        assert here.stat().st_mtime == pytest.approx(folder.stat().st_mtime, abs=1.0)
    assert cost.sent == {}
    after = mounted.stats()["vfs"]
    told, ours = (after[key] - before[key] for key in ("notifications", "echoes"))
    assert told == ours >= 20 + 3 + 2 + 21, (told, ours)


def test_an_archive_is_unpacked(here: Path, folder: Path, tmp_path: Path) -> None:
    """With its times, and is compared with what is there."""
    source = tmp_path / "source"
    for number in range(60):
        file = source / f"d{number % 7}" / f"e{number % 3}" / f"f {number} ü"
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_bytes(os.urandom(number * 100))
        os.utime(file, ns=(10**18 + number * 10**9, 10**18 + number * 10**9))
    run("tar", "-C", source, "-cf", tmp_path / "a.tar", ".")
    run("tar", "-C", here, "--no-same-owner", "-xf", tmp_path / "a.tar")
    assert tree_of(folder) == tree_of(source) == tree_of(here)
    for top in (folder, here):
        for name, content in tree_of(source):
            if content is not None:
                assert (top / name).stat().st_mtime_ns == (source / name).stat().st_mtime_ns
    run("cp", "-r", here / "d1", here / "copy")
    assert tree_of(folder / "copy") == tree_of(source / "d1")
    run("rm", "-rf", here / "copy", here / "d1", here / "d2")
    assert sorted(os.listdir(folder)) == ["d0", "d3", "d4", "d5", "d6"]


def test_modes_and_owners(here: Path, folder: Path) -> None:
    """As cifs: the server keeps whether a file may be written; all else is taken, and shown as the
    mount's options say."""
    file = here / "f"
    file.write_bytes(b"old")
    file.chmod(0o444)
    assert file.stat().st_mode & 0o777 == 0o555
    with pytest.raises(PermissionError):
        os.close(os.open(file, os.O_WRONLY))
    file.chmod(0o600)
    assert file.stat().st_mode & 0o777 == 0o755
    file.write_bytes(b"new")
    assert (folder / "f").read_bytes() == b"new"
    os.chown(file, os.getuid(), os.getgid())
    here.chmod(0o555)
    (here / "d").mkdir(0o700)
    file.chmod(0o400)
    (here / "g").write_bytes(b"g")
    (here / "g").rename(file)
    assert file.read_bytes() == b"g"
    file.chmod(0o400)
    file.unlink()
    assert os.listdir(folder) == ["d"]


def test_sizes_and_times_by_path(here: Path, folder: Path) -> None:
    file = here / "f"
    file.write_bytes(b"0123456789")
    os.truncate(file, 3)
    assert file.read_bytes() == (folder / "f").read_bytes() == b"012"
    os.truncate(file, 6)
    assert file.read_bytes() == (folder / "f").read_bytes() == b"012\0\0\0"
    os.utime(file, ns=(10**18, 10**18 + 1_000_000_100))
    for each in (file, folder / "f"):
        assert (each.stat().st_atime_ns, each.stat().st_mtime_ns) == (
            10**18,
            10**18 + 1_000_000_100,
        )
    os.utime(here, ns=(10**18, 10**18))
    assert here.stat().st_mtime_ns == folder.stat().st_mtime_ns == 10**18


def test_what_others_do_between_our_own_changes(here: Path, folder: Path) -> None:
    """In one directory, and to the same names."""
    chance = random.Random(1)
    os.listdir(here)
    for round_ in range(60):
        top = chance.choice([here, folder])
        name = f"n{chance.randrange(6)}"
        call = chance.choice(["mkdir", "rmdir", "rename", "look"])
        with suppress(FileNotFoundError, FileExistsError):
            if call == "mkdir":
                (top / name).mkdir()
            elif call == "rmdir":
                (top / name).rmdir()
            elif call == "rename":
                (top / name).rename(top / f"r{round_}")
            else:
                (here / name).stat()
        if round_ % 10 == 9:
            assert eventually(lambda: shown(here) == shown(folder))


def shown(folder: Path) -> tuple[list[str], list[bool]]:
    """By a listing, and by look-ups."""
    return sorted(os.listdir(folder)), [(folder / f"n{number}").exists() for number in range(6)]


def test_a_directory_is_renamed_in_case_only(here: Path, folder: Path) -> None:
    (folder / "Name").mkdir()
    (folder / "Name" / "f").write_bytes(b"f")
    assert os.listdir(here / "Name") == ["f"]
    (here / "Name").rename(here / "nAME")
    assert os.listdir(folder) == os.listdir(here) == ["nAME"]
    assert (here / "nAME" / "f").read_bytes() == b"f"


def test_a_cached_file_is_renamed_with_what_is_kept_of_it(
    samba: PrivateSamba, mount: Mount
) -> None:
    """In the kernel's pages: in the disk cache the path is part of what is kept of a file whose
    creation time proves nothing."""
    folder = Path(tempfile.mkdtemp(dir=samba.path))
    mounted = mount(samba, "actimeo=30")
    here = mounted.path / folder.name
    (here / "d").mkdir()
    (here / "d" / "f").write_bytes(content := os.urandom(1 << 20))
    time.sleep(1.1)  # of what was changed, or read first, a moment ago the kernel's pages go
    assert (here / "d" / "f").read_bytes() == content
    assert eventually(lambda: mounted.stats()["cache"]["bytes_stored"] >= len(content))
    before = mounted.stats()["server"]["bytes"]
    (here / "d" / "f").rename(here / "d" / "g")
    assert (here / "d" / "g").read_bytes() == content
    (here / "d").rename(here / "D2")
    assert (here / "D2" / "g").read_bytes() == content
    assert mounted.stats()["server"]["bytes"] == before


def test_a_name_that_another_mount_has_read_is_made_anew(samba: PrivateSamba, mount: Mount) -> None:
    """It keeps its handle for a while, and the server the name as long: no ENOENT meanwhile."""
    folder = Path(tempfile.mkdtemp(dir=samba.path))
    here, there = (mount(samba).path / folder.name / "f" for _ in range(2))
    for new in (b"new", b"newer"):
        here.write_bytes(os.urandom(300_000))
        assert eventually(lambda: len(there.read_bytes()) == 300_000)
        here.unlink()
        here.write_bytes(new)
        assert (folder / "f").read_bytes() == new


def test_a_file_is_not_renamed_in_case_only(here: Path, folder: Path) -> None:
    """The kernel takes both names for links of one file, and asks nobody."""
    (folder / "Name").write_bytes(b"f")
    (here / "Name").rename(here / "nAME")
    assert os.listdir(folder) == ["Name"]
    (here / "Name").rename(here / "other")
    (here / "other").rename(here / "nAME")
    assert os.listdir(folder) == os.listdir(here) == ["nAME"]
