"""Several mounts that append to one file, on a real Samba: nothing is lost."""

from __future__ import annotations

import pytest
import trio
import trio.testing

from netfsfuse.errors import Disconnected
from netfsfuse.lab.server.samba import PrivateSamba
from netfsfuse.smb.session.session import Session
from netfsfuse.smb.share.writable import WritableSmbFile
from tests.smb.test_real_samba import session_to
from tests.smb.test_writable import Holding, Writer, namespace_of


async def opened(session: Session, path: str) -> WritableSmbFile:
    file, _ = await namespace_of(session).create(path, exclusive=False, holder=Holding())
    return file


async def test_lines_of_two_mounts_are_all_there(any_samba: PrivateSamba) -> None:
    path = any_samba.path / "log"
    path.unlink(missing_ok=True)
    async with session_to(any_samba) as one, session_to(any_samba) as two:
        files = [await opened(session, "log") for session in (one, two)]

        async def append(file: WritableSmbFile, name: str) -> None:
            writer = Writer(file)
            for number in range(25):
                async with file.appending() as size:
                    await writer.write(size, f"{name} {number}\n".encode())

        with trio.fail_after(60):
            async with trio.open_nursery() as nursery:
                for index in range(4):  # two programs on each mount
                    nursery.start_soon(append, files[index % 2], str(index))
        for file in files:
            await file.finish()
    lines = path.read_text().splitlines()
    for index in range(4):
        mine = [line for line in lines if line.startswith(f"{index} ")]
        assert mine == [f"{index} {number}" for number in range(25)]
    assert len(lines) == 100


@pytest.mark.parametrize("how", ["left", "cancelled while waiting", "connection lost"])
async def test_what_was_locked_is_free_again(samba: PrivateSamba, how: str) -> None:
    async with session_to(samba) as one, session_to(samba) as two:
        first, second = await opened(one, "free"), await opened(two, "free")
        got = trio.Event()

        async def wait() -> None:
            async with second.appending():
                got.set()

        async with trio.open_nursery() as nursery:
            async with first.appending():
                nursery.start_soon(wait)
                transport = two.live
                assert transport is not None
                with trio.fail_after(10):
                    while not any(entry.interim for entry in transport._pending.values()):
                        await trio.sleep(0.01)
                assert not got.is_set()
                if how == "cancelled while waiting":
                    nursery.cancel_scope.cancel()
                if how == "connection lost":
                    assert one.live is not None
                    one.live.fail(Disconnected("lost"))
                    with trio.fail_after(10):
                        await got.wait()
            if how == "left":
                with trio.fail_after(10):
                    await got.wait()
        with trio.fail_after(10):
            for file in (first, second):
                async with file.appending():
                    pass
        await first.finish()
        await second.finish()


async def test_a_lock_that_is_not_answered_is_asked_for_again(
    samba: PrivateSamba, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Samba forgets a waiting LOCK in one of ten cuts of the connection that holds the lock."""
    monkeypatch.setattr("netfsfuse.smb.share.writable._ASK_AGAIN", 0.05)
    async with session_to(samba) as one, session_to(samba) as two:
        first, second = await opened(one, "again"), await opened(two, "again")

        async def append() -> None:
            async with second.appending():
                pass

        async with trio.open_nursery() as nursery:
            async with first.appending():
                nursery.start_soon(append)
                transport = two.live
                assert transport is not None
                asked: set[int] = set()
                with trio.fail_after(10):
                    while len(asked) < 3:
                        asked |= {key for key, entry in transport._pending.items() if entry.interim}
                        await trio.sleep(0.005)
            with trio.fail_after(10):
                while nursery.child_tasks:
                    await trio.sleep(0.005)
        await first.finish()
        await second.finish()
