"""Where a path leads, without asking the mounts of ours on its way."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from netfsfuse.cli.place import resolved
from netfsfuse.errors import MountError
from netfsfuse.mountinfo import FSTYPE, Mount


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """``mnt/sub`` below a folder, links to both, and a circle."""
    folder = tmp_path.resolve()
    (folder / "mnt/sub").mkdir(parents=True)
    (folder / "link").symlink_to("mnt")
    (folder / "deep").symlink_to(folder / "link/sub")
    (folder / "mnt/inside").symlink_to("/usr")
    (folder / "circle").symlink_to("circle")
    return folder


WAYS = ("mnt", "mnt/", "./link", "link/sub/..", "deep", "deep/../x", "no/where", "mnt/sub/../..")


@pytest.mark.parametrize("way", WAYS)
def test_as_the_kernel_does(folder: Path, monkeypatch: pytest.MonkeyPatch, way: str) -> None:
    monkeypatch.chdir(folder)
    assert resolved(way, []) == os.path.realpath(way)
    assert resolved(f"{folder}/{way}", []) == os.path.realpath(way)
    assert resolved("/", []) == "/"
    assert resolved("/../..", []) == "/"


@pytest.mark.parametrize(
    "way", ["mnt", "link", "deep", "link/inside", "mnt/inside/../sub", "deep/x"]
)
def test_a_mount_of_ours_is_not_asked(
    folder: Path, monkeypatch: pytest.MonkeyPatch, way: str
) -> None:
    asked: list[str] = []
    readlink = os.readlink

    def note(path: str) -> str:
        asked.append(path)
        return readlink(path)

    monkeypatch.setattr(os, "readlink", note)
    mounts = [Mount(f"{folder}/mnt", FSTYPE, "//nas/films", "0:40")]
    below = {
        "deep": "/sub",
        "link/inside": "/inside",
        "mnt/inside/../sub": "/sub",
        "deep/x": "/sub/x",
    }
    assert resolved(f"{folder}/{way}", mounts) == f"{folder}/mnt{below.get(way, '')}"
    assert not [path for path in asked if path.startswith(f"{folder}/mnt")]


def test_a_circle_and_a_directory_that_is_gone(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(MountError, match="too many levels"):
        resolved(f"{folder}/circle/x", [])
    (folder / "gone").mkdir()
    monkeypatch.chdir(folder / "gone")
    (folder / "gone").rmdir()
    with pytest.raises(MountError, match="directory is gone"):
        resolved("x", [])
