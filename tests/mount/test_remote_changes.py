"""What somebody else does is seen through the mount within a second: by stat, ls and a re-open.

Attributes are believed for a minute here, so that only the server's own word can end that belief,
in us and in the kernel.
"""

from __future__ import annotations

import os
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from netfsfuse.lab.server.samba import PrivateSamba
from tests.support.mounted import Mounted
from tests.support.proxy import PrivateProxy
from tests.support.second_client import SecondClient, second_client
from tests.support.until import until

Mount = Callable[..., Mounted]
PROMISED = 1.0


class Local:
    """The same changes, made on the server's own disk."""

    def __init__(self, root: Path) -> None:
        self._root = root

    def write(self, path: str, content: bytes, mode: str = "wb") -> None:
        with (self._root / path).open(mode) as file:
            file.write(content)

    def remove(self, path: str) -> None:
        (self._root / path).unlink()

    def rename(self, path: str, to: str) -> None:
        (self._root / path).rename(self._root / to)

    def mkdir(self, path: str) -> None:
        (self._root / path).mkdir()


@pytest.fixture
def folder(samba: PrivateSamba) -> Path:
    return Path(tempfile.mkdtemp(dir=samba.path))


@pytest.fixture(params=["local", "smb"])
def somebody(request: pytest.FixtureRequest, samba: PrivateSamba) -> Iterator[Local | SecondClient]:
    if request.param == "local":
        yield Local(samba.path)
    else:
        with second_client(samba) as client:
            yield client


@pytest.fixture
def here(samba: PrivateSamba, folder: Path, mount: Mount) -> Path:
    """A listed, looked through and opened directory of a mount: all of it is known."""
    for number in range(5):
        (folder / f"f{number}").write_bytes(b"old")
    (folder / "sub").mkdir()
    time.sleep(0.1)  # no file is racily clean any more
    mounted = mount(samba, "actimeo=60")
    here = mounted.path / folder.name
    known(here)
    return here


def known(here: Path) -> dict[str, bytes]:
    """Everything that a program can find out without knowing names beforehand."""
    found = {}
    for entry in os.scandir(here):
        found[entry.name] = b"" if entry.is_dir() else Path(entry.path).read_bytes()
    assert not (here / "new").exists()
    return found


def test_a_change(somebody: Local | SecondClient, here: Path, folder: Path) -> None:
    somebody.write(f"{folder.name}/f1", b"newer")
    until(lambda: (here / "f1").stat().st_size == 5, PROMISED, "stat shows the new size")
    assert (here / "f1").read_bytes() == b"newer"


def test_a_change_of_the_same_size(
    somebody: Local | SecondClient, here: Path, folder: Path
) -> None:
    """Nothing but an open is made: no stat in between could help."""
    somebody.write(f"{folder.name}/f1", b"new", "r+b")
    until(lambda: (here / "f1").read_bytes() == b"new", PROMISED, "an open reads the new bytes")


def test_a_new_file(somebody: Local | SecondClient, here: Path, folder: Path) -> None:
    """The kernel has been told that there is none."""
    with pytest.raises(FileNotFoundError):
        (here / "new").stat()
    somebody.write(f"{folder.name}/new", b"here")
    until((here / "new").exists, PROMISED, "the name is found")
    assert "new" in os.listdir(here)
    assert (here / "new").read_bytes() == b"here"


def test_a_file_in_a_directory_that_was_never_listed(
    samba: PrivateSamba, folder: Path, mount: Mount
) -> None:
    (folder / "f").write_bytes(b"old")
    time.sleep(0.1)
    here = mount(samba, "actimeo=60").path / folder.name / "f"
    assert here.read_bytes() == b"old"
    (folder / "f").write_bytes(b"newer")
    until(lambda: here.stat().st_size == 5, PROMISED, "stat shows the new size")


@pytest.mark.alone  # times out on a loaded machine
def test_more_changes_than_the_server_tells(
    samba: PrivateSamba, folder: Path, mount: Mount, proxy: Callable[..., PrivateProxy]
) -> None:
    """Of everything in the directory the kernel's idea is out of date, and of what is not there."""
    files = [folder / f"a file with a rather long name, {n:05}" for n in range(1000)]
    for file in files:
        file.write_bytes(b"old")
    time.sleep(0.1)
    far = proxy(samba.port, delay=0.1)
    source = f"//{samba.host}:{far.port}/{samba.share}"
    here = mount(samba, "actimeo=60,nofsc", source=source).path / folder.name
    assert {entry.stat().st_size for entry in os.scandir(here)} == {3}
    assert not (here / "new").exists()
    for file in files:
        file.write_bytes(b"newer")
    (folder / "new").write_bytes(b"here")
    time.sleep(1.5 * PROMISED)  # writing took some round trips
    assert (here / "new").exists()
    assert {os.stat(here / file.name).st_size for file in files} == {5}


def test_a_listing_alone(somebody: Local | SecondClient, here: Path, folder: Path) -> None:
    somebody.mkdir(f"{folder.name}/dir")
    until(lambda: "dir" in os.listdir(here), PROMISED, "ls shows it")
    assert (here / "dir").is_dir()


def test_a_removed_file(somebody: Local | SecondClient, here: Path, folder: Path) -> None:
    assert (here / "f2").exists()
    somebody.remove(f"{folder.name}/f2")
    until(lambda: not (here / "f2").exists(), PROMISED, "the name is gone")
    assert "f2" not in os.listdir(here)


def test_a_renamed_file(somebody: Local | SecondClient, here: Path, folder: Path) -> None:
    somebody.rename(f"{folder.name}/f3", f"{folder.name}/moved")
    until((here / "moved").exists, PROMISED, "the new name is found")
    until(lambda: not (here / "f3").exists(), PROMISED, "the old name is gone")
    assert (here / "moved").read_bytes() == b"old"
    names = os.listdir(here)
    assert "moved" in names
    assert "f3" not in names


def test_one_takes_the_name_of_another(
    somebody: Local | SecondClient, here: Path, folder: Path
) -> None:
    """As editors save."""
    somebody.write(f"{folder.name}/.f4.swp", b"saved anew")
    if isinstance(somebody, SecondClient):
        somebody.remove(f"{folder.name}/f4")
    somebody.rename(f"{folder.name}/.f4.swp", f"{folder.name}/f4")

    def saved() -> bool:
        try:
            return (here / "f4").read_bytes() == b"saved anew"
        except FileNotFoundError:
            return False

    until(saved, PROMISED, "the new file is read")


def test_without_a_watch_the_lifetime_counts(
    samba: PrivateSamba, folder: Path, mount: Mount
) -> None:
    """More directories than are watched: what is told by none is found out after ``actimeo``."""
    for number in range(300):
        (folder / f"d{number:03}").mkdir()
        (folder / f"d{number:03}" / "f").write_bytes(b"old")
    time.sleep(0.1)
    mounted = mount(samba)
    here = mounted.path / folder.name
    for number in range(300):
        assert (here / f"d{number:03}" / "f").read_bytes() == b"old"
    assert mounted.stats()["vfs"]["watches"] <= 256
    for number in range(300):
        (folder / f"d{number:03}" / "f").write_bytes(b"newer")
    time.sleep(PROMISED)
    assert {(here / f"d{n:03}" / "f").stat().st_size for n in range(300)} == {5}
    assert {(here / f"d{n:03}" / "f").read_bytes() for n in range(300)} == {b"newer"}
