"""One mount command at a time on one mount point."""

from __future__ import annotations

from pathlib import Path

import pytest

from netfsfuse.cli import lock
from netfsfuse.cli.lock import mounting_alone
from netfsfuse.errors import MountError


@pytest.fixture
def folders(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> list[Path]:
    folders = [tmp_path / "nowhere/x", tmp_path / "run"]
    monkeypatch.setattr(lock, "_folders", lambda: folders)
    monkeypatch.setattr(lock, "_LOCK_TIMEOUT", 0.1)
    return folders


def test_the_second_does_not_get_it(folders: list[Path]) -> None:
    with mounting_alone("/mnt/a"):
        with mounting_alone("/mnt/b"):
            pass
        said = "another netfsfuse is just mounting on /mnt/a"
        with pytest.raises(MountError, match=said), mounting_alone("/mnt/a"):
            raise AssertionError("two at once")
    with mounting_alone("/mnt/a"):
        assert folders[1].stat().st_mode & 0o777 == 0o700


def test_no_place_for_locks_is_no_reason_not_to_mount(folders: list[Path]) -> None:
    folders[1].mkdir()
    folders[1].chmod(0o777)  # anybody may have laid it there
    with mounting_alone("/mnt/a"), mounting_alone("/mnt/a"):
        assert not list(folders[1].iterdir())
