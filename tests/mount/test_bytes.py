"""What is read through the mount is what the server's own disk holds, every byte of it.

Each compare starts with dropped caches, goes once through the kernel's pages and once past them,
and is done against the plain server and against each of its variants.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from netfsfuse.lab.server import data
from netfsfuse.lab.server.samba import PrivateSamba
from tests.mount.reading import (
    MIB,
    WAYS,
    big_file,
    check_ranges,
    compare,
    compare_trees,
    content,
    dd,
    digest,
    forget_pages,
    opened,
    pread,
    sha256,
)
from tests.support.mounted import Mounted

Mount = Callable[..., Mounted]


def check_four_readers(here: Path, there: Path, seed: int) -> None:
    """Four readers at random offsets at once, two of them past the kernel's pages."""
    with ThreadPoolExecutor(4) as readers:
        runs = [
            readers.submit(check_ranges, here, there, direct=bool(n % 2), seed=seed + n)
            for n in range(4)
        ]
        assert all(run.result() for run in runs)


def test_big_file(samba: PrivateSamba, mount: Mount) -> None:
    """256 MiB: cmp, sha256 of a direct reader, and four readers at random offsets while cold."""
    there = big_file(samba)
    mounted = mount(samba)
    here = mounted.path / there.name
    check_four_readers(here, there, seed=1)
    forget_pages(here)
    compare(here, there)
    forget_pages(here)
    assert digest(dd(here, direct=True)) == sha256(there)
    assert mounted.stats()["application"]["errors"] == 0


@pytest.mark.parametrize("every", [8, pytest.param(1, marks=pytest.mark.soak)])
def test_two_thousand_small_files(samba: PrivateSamba, mount: Mount, every: int) -> None:
    """Names and bytes of a tree, cold; then past the kernel's pages, from the cache."""
    tree = samba.path / "tree-2000"
    if not tree.exists():
        data.write_tree(tree, 2000)
    mounted = mount(samba)
    compare_trees(mounted.path / tree.name, tree)
    files = sorted(tree.glob("*/*"))
    assert len(files) == 2000
    forget_pages(*(mounted.path / there.relative_to(samba.path) for there in files))
    for there in files[::every]:
        here = mounted.path / there.relative_to(samba.path)
        assert content(here, direct=True) == there.read_bytes()


@pytest.mark.parametrize("size", [1024 * MIB, pytest.param(5120 * MIB, marks=pytest.mark.soak)])
def test_sparse_file(samba: PrivateSamba, mount: Mount, size: int) -> None:
    """A file that is mostly hole, with data at its edges and across the edges of what we read."""
    there = samba.path / f"sparse-{size // MIB}"
    islands = (0, 100 * MIB - 5, 512 * MIB - 65536, 777 * MIB + 4096, size - 12345)
    with there.open("wb") as file:
        file.truncate(size)
        for start in islands:
            file.seek(start)
            file.write(data.block("island", 0)[: min(300_000, size - start)])
    assert there.stat().st_blocks * 512 < 4 * MIB
    mounted = mount(samba)
    here = mounted.path / there.name
    with opened(there) as truth, opened(here) as fd:
        for start in islands:
            around = max(start - 100_000, 0)
            assert pread(fd, around, 500_000) == os.pread(truth, 500_000, around)
    forget_pages(here)
    expected = sha256(there)
    assert digest(dd(here, direct=True)) == expected
    if size > 1024 * MIB:
        forget_pages(here)
        assert digest(dd(here)) == expected
    there.unlink()


def test_empty_and_tiny_files(samba: PrivateSamba, mount: Mount) -> None:
    """0 bytes are 0 bytes, and what is smaller than any block ends where it ends."""
    mounted = mount(samba)
    for size in (0, 1, 511, 4095, 4096, 4097):
        there = samba.path / f"tiny-{size}"
        data.write_file(there, size, seed="tiny")
        for direct in WAYS:
            assert content(mounted.path / there.name, direct=direct) == there.read_bytes()
        compare(mounted.path / there.name, there)


def test_every_variant_of_the_server(any_samba: PrivateSamba, mount: Mount) -> None:
    """Signing, encryption, no leases, 128 credits: the same bytes, cold, cached, remounted."""
    there = any_samba.path / "middle"
    data.write_file(there, 48 * MIB - 77, seed="middle")
    tree = any_samba.path / "small"
    data.write_tree(tree, 60)
    mounted = mount(any_samba)
    here = mounted.path / there.name
    check_four_readers(here, there, seed=100)
    compare(here, there)
    compare_trees(mounted.path / tree.name, tree)
    forget_pages(here)
    assert digest(dd(here, direct=True)) == sha256(there)
    mounted.remount()
    check_four_readers(here, there, seed=200)
    compare(here, there)
    assert mounted.stats()["server"]["bytes"] <= there.stat().st_size // 100


@pytest.mark.parametrize("options", ["nofsc,rsize=65536", "seal,max_credits=20"])
def test_what_the_user_asks_for(samba: PrivateSamba, mount: Mount, options: str) -> None:
    """The same bytes however the mount was asked for."""
    there = samba.path / "asked"
    if not there.exists():
        data.write_file(there, 24 * MIB + 3, seed="asked")
    mounted = mount(samba, options)
    here = mounted.path / there.name
    check_four_readers(here, there, seed=300)
    assert digest(dd(here, direct=True)) == digest(dd(here)) == sha256(there)
