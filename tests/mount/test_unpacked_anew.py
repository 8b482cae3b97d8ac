"""A tree that is deleted and unpacked again: equal sizes and times, inode numbers dealt out anew.

Samba makes up creation and change times from the others, so nothing but the names tells a new file
from the dead one whose number it was given.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

from netfsfuse.lab.server.samba import PrivateSamba
from tests.support.mounted import Mounted

FILES = 40
SIZE = 70_000
LONG_AGO = 1_000_000_000


def unpack(folder: Path, order: list[int], label: str) -> dict[str, int]:
    """Write the files in ``order``, all of one size and time; their inode numbers by name."""
    for number in order:
        path = folder / f"file-{number}"
        path.write_bytes(f"{label} {number} ".encode().ljust(SIZE, b"."))
        os.utime(path, (LONG_AGO, LONG_AGO))
    return {path.name: path.stat().st_ino for path in folder.iterdir()}


def test_no_file_is_given_anothers_bytes(
    samba: PrivateSamba, mount: Callable[..., Mounted]
) -> None:
    """Neither from the kernel's pages, while mounted, nor from the cache, after another mount."""
    folder = samba.path / "unpacked"
    folder.mkdir()
    mounted = mount(samba, "actimeo=0")
    here = mounted.path / folder.name
    order = list(range(FILES))
    before = unpack(folder, order, "first")
    for _ in range(2):
        assert all((here / name).read_bytes() == (folder / name).read_bytes() for name in before)
    for path in folder.iterdir():
        path.unlink()
    after = unpack(folder, order[::-1], "first")
    moved = [name for name in before if after[name] in set(before.values()) - {before[name]}]
    assert moved, "ext4 gave no number to another name"
    for again in range(2):
        for name in before:
            assert (here / name).read_bytes() == (folder / name).read_bytes(), (again, name)
        if not again:
            mounted.remount()
