"""``netfsfuse warm``: a tree is in the cache afterwards, once, and stays there when pinned."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Callable
from pathlib import Path

import pytest

from netfsfuse.lab.server import data
from netfsfuse.lab.server.samba import PrivateSamba
from tests.mount.reading import MIB, compare_trees
from tests.support.mounted import Mounted, netfsfuse

Mount = Callable[..., Mounted]

pytestmark = pytest.mark.mount


@pytest.fixture
def tree(samba: PrivateSamba) -> Path:
    """150 small files, two of which are dated far ahead, one of 24 MiB, an empty one."""
    folder = Path(tempfile.mkdtemp(dir=samba.path))
    for number in range(150):
        file = folder / f"d{number % 7}" / f"f{number}"
        file.parent.mkdir(exist_ok=True)
        file.write_bytes(os.urandom(1000 * number % 90_000 + 1))
    data.write_file(folder / "big", 24 * MIB + 5)
    (folder / "empty").touch()
    for file in (folder / "d0/f0", folder / "d1/f99"):
        os.utime(file, (2**32, 2**32))
    return folder


def warm(*words: str, status: int = 0) -> str:
    result = netfsfuse("warm", *words)
    assert result.returncode == status, result.stderr
    return result.stdout + result.stderr


def test_a_tree_is_cached_once(samba: PrivateSamba, mount: Mount, tree: Path) -> None:
    mounted = mount(samba)
    here = mounted.path / tree.name
    said = warm(str(here))
    assert said.startswith("152 files: ")
    assert "0 B were cached already" in said
    read = mounted.stats()["server"]["bytes"]
    link = mounted.folder / "link"
    link.symlink_to(here)
    assert "152 files: 0 B read" in warm(str(link))
    assert mounted.stats()["server"]["bytes"] == read
    mounted.remount()
    compare_trees(here, tree)
    assert mounted.stats()["server"]["bytes"] == 0


def test_it_goes_on_where_it_was(samba: PrivateSamba, mount: Mount, tree: Path) -> None:
    mounted = mount(samba)
    here = mounted.path / tree.name
    warm(str(here / "d1"), str(here / "big"))
    before = mounted.stats()["server"]["bytes"]
    said = warm(str(here))
    assert "24.8 MiB were cached already" in said
    assert mounted.stats()["server"]["bytes"] - before < 10 * MIB


def test_pinned_files_outlive_a_cull(samba: PrivateSamba, mount: Mount, tree: Path) -> None:
    mounted = mount(samba, "cachesize=40M")
    here = mounted.path / tree.name
    assert "152 files" in warm("--pin", str(here))
    flood = samba.path / "flood"
    data.write_file(flood, 60 * MIB)
    assert len((mounted.path / "flood").read_bytes()) == 60 * MIB
    mounted.remount()
    before = mounted.stats()["server"]["bytes"]
    compare_trees(here, tree)
    assert mounted.stats()["server"]["bytes"] == before


def test_what_is_no_mount_or_has_no_cache(samba: PrivateSamba, mount: Mount, tree: Path) -> None:
    assert warm("/usr", status=1) == "netfsfuse: /usr is not on a netfsfuse mount\n"
    mounted = mount(samba, "nofsc")
    assert "the mount has no cache" in warm(str(mounted.path / tree.name / "big"), status=1)
    assert "No such file" in warm(str(mounted.path / "missing"), status=1)
