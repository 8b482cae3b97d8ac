"""What the server shows under names of which no watch tells: links that it follows, short names,
further links. A real Samba, whose disk is changed behind it."""

from __future__ import annotations

import os
import subprocess
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from netfsfuse.lab.server.samba import PrivateSamba
from netfsfuse.vfs.inodes.directory import CALM
from tests.support.mounted import Mounted

Mount = Callable[..., Mounted]


@pytest.fixture
def folder(samba: PrivateSamba) -> Path:
    return Path(tempfile.mkdtemp(dir=samba.path))


def test_changes_by_another_name_are_seen(folder: Path, samba: PrivateSamba, mount: Mount) -> None:
    """Within a second, once all has been calm and every file was read before."""
    for name in ("logs/now", "aux.txt", "one", "Case", "plain"):
        (folder / name).parent.mkdir(exist_ok=True)
        (folder / name).write_text("before")
    (folder / "latest").symlink_to("logs/now")
    (folder / "by-folder").symlink_to("logs")
    os.link(folder / "one", folder / "two")
    here = mount(samba).path / folder.name
    (short,) = (name for name in os.listdir(here) if "~" in name)
    read = ["latest", "by-folder/now", short, "one", "CASE", "plain"]
    for _ in range(2):
        assert {(here / name).read_text() for name in read} == {"before"}
        time.sleep(CALM + 0.1)
    for name in ("logs/now", "aux.txt", "two", "Case", "plain"):
        (folder / name).write_text("after!")
    time.sleep(1)
    assert {name: (here / name).read_text() for name in read} == dict.fromkeys(read, "after!")
    assert {(here / name).stat().st_size for name in read} == {6}


def test_a_folder_under_two_names_leaves_processes_where_they_are(
    folder: Path, samba: PrivateSamba, mount: Mount
) -> None:
    """And one that is renamed goes on as it is."""
    (folder / "releases/42/sub").mkdir(parents=True)
    (folder / "current").symlink_to("releases/42")
    here = mount(samba, "actimeo=0.1").path / folder.name
    assert (here / "releases/42").stat().st_ino != (here / "current").stat().st_ino
    inside = (
        f"cd {here}/releases/42 && ls ../../current/sub . && sleep 0.2 && ls {here}/current/sub"
        " && readlink /proc/self/cwd"
    )
    done = subprocess.run(
        ["sh", "-c", inside], capture_output=True, text=True, timeout=30, check=True
    )
    assert done.stdout.splitlines()[-1] == f"{here}/releases/42"
    before = (here / "releases").stat().st_ino
    (folder / "releases").rename(folder / "old")
    time.sleep(0.2)
    assert (here / "old").stat().st_ino == before
    assert os.listdir(here / "old" / "42") == ["sub"]
