"""Names made, removed and renamed, and attributes set, on a real Samba: its disk is the judge."""

from __future__ import annotations

import os
import tempfile
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, nullcontext
from pathlib import Path

import pytest

from netfsfuse.errors import (
    AlreadyExists,
    InvalidArgument,
    IsADirectory,
    NotADirectory,
    NotEmpty,
    NotFound,
)
from netfsfuse.lab.server.samba import PrivateSamba
from netfsfuse.smb.share.namespace import SmbNamespace
from tests.smb.test_real_samba import session_to


@pytest.fixture
def folder(any_samba: PrivateSamba) -> Path:
    return Path(tempfile.mkdtemp(dir=any_samba.path))


@asynccontextmanager
async def names_of(server: PrivateSamba, **more: object) -> AsyncIterator[SmbNamespace]:
    async with session_to(server, **more) as session:
        yield SmbNamespace(session, lease_trust=1.0)


ODD = ["plain", "ümläut 漢字", 'a: b*c?"<>|', "end ", "end.", "back\\slash", "x" * 200, "\x01\x1f"]


@pytest.mark.parametrize("name", ODD)
async def test_names_of_all_kinds(any_samba: PrivateSamba, folder: Path, name: str) -> None:
    async with names_of(any_samba) as names:
        made = await names.make_directory(f"{folder.name}/{name}")
        (there,) = folder.iterdir()
        assert there.is_dir()
        assert made == await names.stat(f"{folder.name}/{name}")
        moved = await names.rename(f"{folder.name}/{name}", f"{folder.name}/2{name}", replace=True)
        (there,) = folder.iterdir()
        assert (moved.file_id, moved.is_directory) == (there.stat().st_ino, True)
        assert moved == await names.stat(f"{folder.name}/2{name}")
        await names.remove(f"{folder.name}/2{name}", directory=True)
        assert not list(folder.iterdir())


async def test_files_move_replace_and_go(any_samba: PrivateSamba, folder: Path) -> None:
    (folder / "a").write_bytes(b"one")
    (folder / "b").write_bytes(b"other")
    (folder / "sub").mkdir()
    path = folder.name
    async with names_of(any_samba) as names:
        with pytest.raises(AlreadyExists):
            await names.rename(f"{path}/a", f"{path}/b", replace=False)
        attr = await names.rename(f"{path}/a", f"{path}/b", replace=True)
        assert (attr.size, attr.file_id) == (3, (folder / "b").stat().st_ino)
        assert (folder / "b").read_bytes() == b"one"
        await names.rename(f"{path}/b", f"{path}/sub/c", replace=False)
        assert sorted(os.listdir(folder)) == ["sub"]
        await names.rename(f"{path}/sub/c", f"{path}/sub/C", replace=True)
        assert os.listdir(folder / "sub") == ["C"]
        await names.rename(f"{path}/sub", f"{path}/bus", replace=True)
        await names.remove(f"{path}/bus/C", directory=False)
        assert not list((folder / "bus").iterdir())


async def test_what_is_marked_read_only(any_samba: PrivateSamba, folder: Path) -> None:
    path = folder.name
    for name in ("f", "g", "h"):
        (folder / name).write_bytes(name.encode())
    async with names_of(any_samba) as names:
        for name in ("f", "g"):
            assert (await names.set_attributes(f"{path}/{name}", read_only=True)).is_read_only
        await names.remove(f"{path}/f", directory=False)
        await names.rename(f"{path}/h", f"{path}/g", replace=True)
        assert os.listdir(folder) == ["g"]
        assert (folder / "g").read_bytes() == b"h"
        assert not (await names.set_attributes(f"{path}/g", read_only=False)).is_read_only


@pytest.mark.parametrize("old", ["f", "d"])
@pytest.mark.parametrize("new", ["g", "empty", "full", "new"])
async def test_what_may_replace_what(
    any_samba: PrivateSamba, folder: Path, old: str, new: str
) -> None:
    """As rename(2) on the server's own disk."""
    for place in (folder / "far", folder / "local"):
        (place / "d").mkdir(parents=True)
        (place / "full" / "x").mkdir(parents=True)
        (place / "empty").mkdir()
        (place / "f").write_bytes(b"f")
        (place / "g").write_bytes(b"g")
    expected: type[Exception] | None = None
    try:
        (folder / "local" / old).rename(folder / "local" / new)
    except IsADirectoryError:
        expected = IsADirectory
    except NotADirectoryError:
        expected = NotADirectory
    except OSError:
        expected = NotEmpty
    far = f"{folder.name}/far"
    async with names_of(any_samba) as names:
        refusal = nullcontext() if expected is None else pytest.raises(expected)
        with refusal:
            await names.rename(f"{far}/{old}", f"{far}/{new}", replace=True)
    assert tree_of(folder / "far") == tree_of(folder / "local")


def tree_of(folder: Path) -> list[tuple[str, bytes | None]]:
    return sorted(
        (str(each.relative_to(folder)), each.read_bytes() if each.is_file() else None)
        for each in folder.rglob("*")
    )


async def test_refusals(any_samba: PrivateSamba, folder: Path) -> None:
    (folder / "d").mkdir()
    (folder / "d" / "f").write_bytes(b"")
    path = folder.name
    async with names_of(any_samba) as names:
        for call, refusal in (
            (names.make_directory(f"{path}/d"), AlreadyExists),
            (names.make_directory(f"{path}/d/f"), AlreadyExists),
            (names.make_directory(f"{path}/no/d"), NotFound),
            (names.remove(f"{path}/d", directory=True), NotEmpty),
            (names.remove(f"{path}/d", directory=False), IsADirectory),
            (names.remove(f"{path}/d/f", directory=True), NotADirectory),
            (names.remove(f"{path}/no", directory=False), NotFound),
            (names.remove(f"{path}/no", directory=True), NotFound),
            (names.rename(f"{path}/no", f"{path}/new", replace=True), NotFound),
            (names.rename(f"{path}/d", f"{path}/no/new", replace=True), NotFound),
            (names.set_attributes(f"{path}/no", size=0), NotFound),
        ):
            with pytest.raises(refusal):
                await call
    assert tree_of(folder) == [("d", None), ("d/f", b"")]


async def test_size_and_times(any_samba: PrivateSamba, folder: Path) -> None:
    (folder / "f").write_bytes(b"0123456789")
    async with names_of(any_samba) as names:
        path = f"{folder.name}/f"
        attr = await names.set_attributes(path, size=4, access=1_000_000_000_700, write=-(10**18))
        assert attr == await names.stat(path)
        there = (folder / "f").stat()
        assert (folder / "f").read_bytes() == b"0123"
        assert (there.st_atime_ns, there.st_mtime_ns) == (1_000_000_000_700, -(10**18))
        assert (attr.access, attr.write, attr.size) == (1_000_000_000_700, -(10**18), 4)
        assert (await names.set_attributes(path, size=1 << 20)).size == 1 << 20
        await names.set_attributes(path, write=5_000_000_000)
        assert (folder / "f").stat().st_mtime_ns == 5_000_000_000


async def test_a_parked_handle_gives_way(any_samba: PrivateSamba, folder: Path) -> None:
    """Files that were read stay open on the server for a moment, under a lease."""
    path = folder.name
    (folder / "d" / "e").mkdir(parents=True)
    for name in ("a", "b", "d/e/c"):
        (folder / name).write_bytes(bytes(100_000))
    async with names_of(any_samba) as names:
        for name in ("a", "b", "d/e/c"):
            file, _ = await names.open(f"{path}/{name}")
            await file.aclose()
        await names.rename(f"{path}/a", f"{path}/b", replace=True)
        await names.rename(f"{path}/d", f"{path}/D2", replace=True)
        for name in ("b", "D2/e/c"):
            file, _ = await names.open(f"{path}/{name}")
            await file.aclose()
        await names.remove(f"{path}/b", directory=False)
        await names.make_directory(f"{path}/b")


async def test_a_name_that_the_server_cannot_hold(any_samba: PrivateSamba, folder: Path) -> None:
    (folder / "f").write_bytes(b"")
    path = folder.name
    async with names_of(any_samba) as names:
        for call in (
            names.make_directory(f"{path}/a\ud800b"),
            names.rename(f"{path}/f", f"{path}/a\ud800b", replace=True),
        ):
            with pytest.raises(InvalidArgument):
                await call
    assert tree_of(folder) == [("f", b"")]
