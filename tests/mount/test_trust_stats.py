"""What the mount believes, and why, by ``stats --json`` of the real command."""

from __future__ import annotations

import os
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from netfsfuse.lab.server.samba import PrivateSamba
from tests.support.mounted import Mounted

Mount = Callable[..., Mounted]


@pytest.fixture
def folder(samba: PrivateSamba) -> Path:
    folder = Path(tempfile.mkdtemp(dir=samba.path))
    (folder / "small").write_bytes(b"small")
    time.sleep(0.1)
    return folder


@contextmanager
def given(mounted: Mounted) -> Iterator[dict[str, int]]:
    """Filled at the end: reason -> how often it was given meanwhile."""
    before = mounted.stats()["trust"]
    counts: dict[str, int] = {}
    yield counts
    after = mounted.stats()["trust"]
    counts |= {why: count - before[why] for why, count in after.items()}


def test_the_reasons_are_counted(samba: PrivateSamba, folder: Path, mount: Mount) -> None:
    mounted = mount(samba, "actimeo=60")
    here = mounted.path / folder.name
    with given(mounted) as lookup:
        assert (here / "small").stat().st_size == 5
    assert lookup["unlisted"] >= 1
    with given(mounted) as opened:
        assert (here / "small").read_bytes() == b"small"
    assert opened["unopened"] + opened["unwatched"] + opened["expired"] >= 1
    assert opened["settled"] >= 1
    with given(mounted) as listed:
        assert os.listdir(here) == ["small"]
    assert listed["unlisted"] >= 1
    with given(mounted) as again:
        assert os.listdir(here) == ["small"]
        assert (here / "small").read_bytes() == b"small"
    assert again["watch"] >= 2
    assert again["opened"] == 1


def test_under_nolease_no_open_is_believed(samba: PrivateSamba, folder: Path, mount: Mount) -> None:
    mounted = mount(samba, "nolease,actimeo=60")
    small = mounted.path / folder.name / "small"
    assert small.read_bytes() == b"small"
    with given(mounted) as again:
        assert small.read_bytes() == b"small"
    assert again["nolease"] >= 1
    assert again["opened"] == 0
