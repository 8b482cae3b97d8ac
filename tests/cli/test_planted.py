"""What other users laid where root writes."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from netfsfuse.cli.planted import followed
from netfsfuse.errors import MountError

OTHER = 65534


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """As root sees it: ``shared`` is as /tmp, and what is called "planted" another user's."""
    real = os.lstat

    def lstat(path: str) -> os.stat_result:
        about = list(real(path))
        about[4] = OTHER if os.path.basename(path).startswith("planted") else 0
        return os.stat_result(about)

    monkeypatch.setattr(os, "geteuid", lambda: 0)
    monkeypatch.setattr(os, "lstat", lstat)
    folder = tmp_path.resolve()
    for name in ("shared", "own"):
        (folder / name).mkdir()
    (folder / "shared").chmod(0o1777)
    return folder


def test_links_of_root_are_followed(folder: Path) -> None:
    (folder / "shared/link").symlink_to("../own")
    (folder / "own/far").symlink_to(folder / "shared")
    assert followed(folder / "shared/link/my.log", "the log") == folder / "own/my.log"
    assert followed(folder / "own/far/../own/a/b", "the log") == folder / "own/a/b"


@pytest.mark.parametrize("way", ["shared/planted", "shared/planted/my.log", "own/link"])
def test_links_of_others_are_not(folder: Path, way: str) -> None:
    (folder / "shared/planted").symlink_to("../own")
    (folder / "own/link").symlink_to("../shared/planted")
    with pytest.raises(MountError, match=f"the log {folder / way}: .*planted is another user's"):
        followed(folder / way, "the log")


def test_files_of_others_are_not_written_to(folder: Path) -> None:
    (folder / "shared/planted.log").touch()
    with pytest.raises(MountError, match="another user's"):
        followed(folder / "shared/planted.log", "the log")


def test_a_user_follows_what_he_likes(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "geteuid", lambda: OTHER)
    (folder / "shared/planted").symlink_to("../own")
    assert followed(folder / "shared/planted", "the log") == folder / "shared/planted"
