"""The command under test, in a folder of its own."""

from __future__ import annotations

from pathlib import Path

import pytest

from netfsfuse.cli import checks
from tests.cli.command import Command


@pytest.fixture
def cli(session_folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Command:
    """The command; ``cli.folder`` holds an empty directory ``mnt``."""
    folder = tmp_path_factory.mktemp("cli").resolve()
    (folder / "mnt").mkdir()
    return Command(folder)


@pytest.fixture
def fuse_device(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    """A file in place of /dev/fuse, for checks in this process."""
    device = tmp_path / "fuse"
    monkeypatch.setattr(checks, "FUSE_DEVICE", str(device))
    return device
