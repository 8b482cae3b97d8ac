"""A change whose answer is lost with the connection: what happened is found out by looking, on a
real Samba, whose disk is the judge."""

from __future__ import annotations

import os
import tempfile
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from netfsfuse.errors import AlreadyExists, Disconnected, NetfsError, NotFound
from netfsfuse.lab.server.samba import PrivateSamba
from netfsfuse.smb.connection.exchange import Reply, Request
from netfsfuse.smb.connection.transport import Transport
from netfsfuse.smb.session import replay
from netfsfuse.smb.session.session import Session
from netfsfuse.smb.share.namespace import SmbNamespace
from netfsfuse.types import FileAttr
from tests.smb.test_real_samba import session_to

BEFORE, AFTER = "the server never got it", "its answer was lost"


class Losing:
    """A session's ``exchange`` that loses the next changes as ``how`` says, one after the other,
    and lets another client do something after each. ``sent``: how often a change came through."""

    def __init__(self, session: Session) -> None:
        self._exchange = session.exchange
        self.how: list[str] = []
        self.meanwhile: Callable[[], object] = lambda: None
        self.sent = 0
        session.exchange = self.exchange  # type: ignore[method-assign]

    async def exchange(self, requests: Callable[[Transport], Sequence[Request]]) -> list[Reply]:
        if replay.may_repeat(requests(None)):  # type: ignore[arg-type]
            return await self._exchange(requests)
        how = self.how.pop(0) if self.how else ""
        replies = []
        if how != BEFORE:
            self.sent += 1
            replies = await self._exchange(requests)
        if how:
            self.meanwhile()
            raise Disconnected(how)
        return replies


@pytest.fixture
def folder(samba: PrivateSamba) -> Path:
    folder = Path(tempfile.mkdtemp(dir=samba.path))
    (folder / "f").write_bytes(b"f")
    (folder / "empty").mkdir()
    return folder


@asynccontextmanager
async def losing(server: PrivateSamba, *how: str) -> AsyncIterator[tuple[SmbNamespace, Losing]]:
    async with session_to(server) as session:
        lost = Losing(session)
        lost.how = list(how)
        yield SmbNamespace(session), lost


async def mkdir(names: SmbNamespace, path: str) -> object:
    return await names.make_directory(f"{path}/new")


async def unlink(names: SmbNamespace, path: str) -> object:
    known = await names.stat(f"{path}/f")
    return await names.remove(f"{path}/f", directory=False, known=known)


async def rmdir(names: SmbNamespace, path: str) -> object:
    known = await names.stat(f"{path}/empty")
    return await names.remove(f"{path}/empty", directory=True, known=known)


async def rename(names: SmbNamespace, path: str) -> object:
    known = await names.stat(f"{path}/f")
    return await names.rename(f"{path}/f", f"{path}/g", replace=True, known=known)


async def truncate(names: SmbNamespace, path: str) -> object:
    return await names.set_attributes(f"{path}/f", size=0)


async def utime(names: SmbNamespace, path: str) -> object:
    return await names.set_attributes(f"{path}/f", write=10**18)


Call = Callable[[SmbNamespace, str], Awaitable[object]]
RESULTS: dict[Call, list[str]] = {
    mkdir: ["empty", "f", "new"],
    unlink: ["empty"],
    rmdir: ["f"],
    rename: ["empty", "g"],
    utime: ["empty", "f"],
}


@pytest.mark.parametrize("how", [BEFORE, AFTER])
@pytest.mark.parametrize("call", RESULTS, ids=lambda call: call.__name__)
async def test_it_is_done_once(samba: PrivateSamba, folder: Path, call: Call, how: str) -> None:
    async with losing(samba, how) as (names, lost):
        result = await call(names, folder.name)
        assert sorted(os.listdir(folder)) == RESULTS[call]
        assert lost.sent == (2 if (call, how) == (utime, AFTER) else 1)  # that may be done twice
        if isinstance(result, FileAttr):
            name = {mkdir: "new", rename: "g", utime: "f"}[call]
            assert result == await names.stat(f"{folder.name}/{name}")


@pytest.mark.parametrize("second", [BEFORE, AFTER])
@pytest.mark.parametrize("call", [mkdir, unlink, rmdir, rename])
async def test_lost_twice(samba: PrivateSamba, folder: Path, call: Call, second: str) -> None:
    async with losing(samba, BEFORE, second) as (names, lost):
        if second == BEFORE:
            with pytest.raises(Disconnected):
                await call(names, folder.name)
            assert lost.sent == 0
        else:
            await call(names, folder.name)
            assert sorted(os.listdir(folder)) == RESULTS[call]


async def test_what_another_client_made_anew_is_not_removed(
    samba: PrivateSamba, folder: Path
) -> None:
    """After ours: a second removal would take away what is another's."""
    async with losing(samba, AFTER) as (names, lost):

        def make_anew() -> None:
            time.sleep(0.2)  # it may have the same number
            (folder / "f").write_bytes(b"another's")

        lost.meanwhile = make_anew
        await unlink(names, folder.name)
        assert (folder / "f").read_bytes() == b"another's"
        assert lost.sent == 1


async def test_what_another_client_renamed_there_is_not_taken_for_ours(
    samba: PrivateSamba, folder: Path
) -> None:
    async with losing(samba, BEFORE) as (names, lost):

        def take_its_place() -> None:
            (folder / "f").rename(folder / "elsewhere")
            (folder / "g").write_bytes(b"another's")

        lost.meanwhile = take_its_place
        with pytest.raises(Disconnected):
            await rename(names, folder.name)
        assert sorted(os.listdir(folder)) == ["elsewhere", "empty", "g"]


async def test_a_name_that_was_taken_before_we_asked(samba: PrivateSamba, folder: Path) -> None:
    time.sleep(0.2)  # the server stamps with a tick
    async with losing(samba, AFTER) as (names, _):
        with pytest.raises(NetfsError) as refused:
            await names.make_directory(f"{folder.name}/empty")
        assert refused.type is AlreadyExists


async def test_what_is_gone_was_removed(samba: PrivateSamba, folder: Path) -> None:
    async with losing(samba, BEFORE) as (names, lost):
        lost.meanwhile = lambda: (folder / "f").unlink()
        await unlink(names, folder.name)
    async with losing(samba) as (names, _):
        with pytest.raises(NotFound):
            await unlink(names, folder.name)


@pytest.mark.parametrize("how", [BEFORE, AFTER])
async def test_a_size_is_not_set_twice(samba: PrivateSamba, folder: Path, how: str) -> None:
    """What was written since by another client would be cut off."""
    async with losing(samba, how) as (names, lost):
        if how == AFTER:
            await truncate(names, folder.name)
            assert (folder / "f").read_bytes() == b""
        else:
            with pytest.raises(Disconnected):
                await truncate(names, folder.name)
            assert (folder / "f").read_bytes() == b"f"
        assert lost.sent == (how == AFTER)


@pytest.mark.parametrize("how", [BEFORE, AFTER])
async def test_without_knowing_the_file_its_age_tells(
    samba: PrivateSamba, folder: Path, how: str
) -> None:
    async with losing(samba, how) as (names, lost):
        if how == BEFORE:  # it is so young that it may have been made since
            with pytest.raises(Disconnected):
                await names.remove(f"{folder.name}/f", directory=False)
            time.sleep(0.2)
            lost.how = [how]
        await names.remove(f"{folder.name}/f", directory=False)
        assert not (folder / "f").exists()
