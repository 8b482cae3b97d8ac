"""What operations cost in messages, by the mount's own counters."""

from __future__ import annotations

import json
import os
import subprocess
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from netfsfuse.lab.server import data
from netfsfuse.lab.server.samba import PrivateSamba
from netfsfuse.stats import STATS_XATTR
from tests.support.mounted import Mounted

Mount = Callable[..., Mounted]

PAGE = 64 * 1024
ENTRY = 104  # bytes of an entry beside its name


@pytest.fixture
def folder(samba: PrivateSamba) -> Path:
    return Path(tempfile.mkdtemp(dir=samba.path))


def messages(mounted: Mounted) -> dict[str, int]:
    """But ECHO, which a clock sends. Read in this process: asking costs at most a look at the
    root."""
    counters = json.loads(os.getxattr(mounted.path, STATS_XATTR))
    sent: dict[str, int] = counters["server"]["messages"]
    sent.pop("echo", None)
    return sent


class Cost:
    """Requests sent within the block, by command; those of watches apart."""

    def __init__(self, mounted: Mounted) -> None:
        self._mounted = mounted
        self.sent: dict[str, int] = {}

    def __enter__(self) -> Cost:
        os.stat(self._mounted.path)
        self._before = messages(self._mounted)
        return self

    def __exit__(self, *_: object) -> None:
        after = messages(self._mounted)
        sent = {name: count - self._before.get(name, 0) for name, count in after.items()}
        watches = sent.pop("change_notify", 0)
        sent["create"] = sent.get("create", 0) - watches
        self.sent = {name: count for name, count in sent.items() if count}


def test_stat_is_one_compound(samba: PrivateSamba, folder: Path, mount: Mount) -> None:
    """CREATE, whose answer holds all attributes, and CLOSE; so is a name that is not there."""
    (folder / "f").write_bytes(b"x")
    mounted = mount(samba, "actimeo=30")
    here = mounted.path / folder.name
    here.stat()
    with Cost(mounted) as cost:
        (here / "f").stat()
    assert cost.sent == {"create": 1, "close": 1}
    with Cost(mounted) as cost:
        assert not (here / "absent").exists()
    assert cost.sent == {"create": 1, "close": 1}


def test_a_small_file_is_one_compound(samba: PrivateSamba, folder: Path, mount: Mount) -> None:
    """With a second CREATE, which the server refuses where the file is no link."""
    for number in range(20):
        (folder / f"f{number}").write_bytes(os.urandom(3000 * number))
    time.sleep(0.1)
    mounted = mount(samba, "actimeo=30")
    here = mounted.path / folder.name
    paths = [here / f"f{number}" for number in range(20)]
    for path in paths:
        path.stat()
    with Cost(mounted) as cost:
        for path in paths:
            assert path.read_bytes() == (folder / path.name).read_bytes()
    assert cost.sent == {"create": 2 * 20, "read": 19, "close": 20}  # one is empty
    with Cost(mounted) as cost:
        for path in paths:
            path.read_bytes()
    assert cost.sent == {}


def test_a_listing_is_its_pages(samba: PrivateSamba, folder: Path, mount: Mount) -> None:
    """And the stats and look-ups that follow are nothing."""
    names = [f"file-{number:05}" for number in range(10_000)]
    for name in names:
        (folder / name).touch()
    mounted = mount(samba, "actimeo=30")
    here = mounted.path / folder.name
    here.stat()
    with Cost(mounted) as cost:
        assert sorted(os.listdir(here)) == names
    pages = -(-10_000 * (ENTRY + 2 * len(names[0]) + 6) // PAGE)
    assert cost.sent["query_directory"] <= pages + 3, (cost.sent, pages)
    assert {**cost.sent, "query_directory": 0} == {"create": 2, "close": 1, "query_directory": 0}
    with Cost(mounted) as cost:
        for entry in os.scandir(here):
            entry.stat()
        assert not (here / "absent").exists()
    assert cost.sent == {}


def test_files_that_may_be_links_are_asked_once(
    samba: PrivateSamba, folder: Path, mount: Mount
) -> None:
    """They are told by nothing but 1,067 bytes. Listed anew, they need not be asked again."""
    for number in range(40):
        (folder / f"f{number}").write_bytes(b"x" * 1067)
    time.sleep(0.1)
    mounted = mount(samba, "actimeo=0")
    here = mounted.path / folder.name
    reads = []
    for _ in range(2):
        with Cost(mounted) as cost:
            assert {entry.stat().st_size for entry in os.scandir(here)} == {1067}
        reads.append(cost.sent.get("read", 0))
    assert reads == [40, 0]


def tree(folder: Path, directories: int, files: int) -> Path:
    data.write_even_tree(folder / "tree", directories, files)
    time.sleep(0.1)
    return folder / "tree"


def grep(place: Path) -> None:
    done = subprocess.run(["grep", "-r", "absent words", place], check=False, timeout=60)
    assert done.returncode == 1


def test_grep_again(
    samba: PrivateSamba, folder: Path, mount: Mount, drop_caches: Callable[[], None]
) -> None:
    """Nothing is asked, whether the kernel still knows the files or not."""
    there = tree(folder, 20, 20)
    mounted = mount(samba)
    place = mounted.path / folder.name / there.name
    grep(place)
    time.sleep(1.5)  # the kernel asks us again
    with Cost(mounted) as cost:
        grep(place)
    way = {"create": 2, "close": 2}  # to the tree: two directories that nobody has listed
    assert cost.sent in ({}, way, {"create": 1, "close": 1})
    drop_caches()
    with Cost(mounted) as cost:
        grep(place)
    assert cost.sent.get("read", 0) == 0
    assert sum(cost.sent.values()) <= 21 * 5 + 20  # listings anew, and no file


def test_grep_after_a_remount(samba: PrivateSamba, folder: Path, mount: Mount) -> None:
    """No byte of content is read again; each file is asked for once, by an open."""
    there = tree(folder, 10, 20)
    mounted = mount(samba)
    place = mounted.path / folder.name / there.name
    grep(place)
    mounted.remount()
    with Cost(mounted) as cost:
        grep(place)
    assert cost.sent.get("read", 0) == 0
    assert mounted.stats()["cache"]["bytes_read"] >= 200 * 4096


@pytest.mark.parametrize("command", [["git", "status"], ["rsync", "-rtn", "--exclude=.git"]])
def test_a_checked_out_tree(
    samba: PrivateSamba, folder: Path, mount: Mount, tmp_path: Path, command: list[str]
) -> None:
    """Warm, no more than a round trip a directory: nothing at all, while watches hold."""
    there = tree(folder, 50, 100)
    git = ["git", "-c", "user.name=n", "-c", "user.email=e", "-c", "init.defaultBranch=main"]
    git += ["-c", "core.fileMode=false"]  # all files show one mode
    for words in (["init", "-q"], ["add", "."], ["commit", "-qm", "all"]):
        subprocess.run([*git, *words], cwd=there, check=True, timeout=60)
    mounted = mount(samba)
    place = mounted.path / folder.name / there.name
    if command[0] == "git":
        words = [*git, "-c", "safe.directory=*", "--no-optional-locks", "status", "--porcelain"]
        where = place
    else:
        words = [*command, f"{place}/", f"{there}/"]
        where = tmp_path
    for _ in range(2):
        with Cost(mounted) as cost:
            done = subprocess.run(
                words, cwd=where, check=True, timeout=60, capture_output=True, text=True
            )
    if command[0] == "git":
        assert done.stdout == ""
    assert sum(cost.sent.values()) <= 52, cost.sent
