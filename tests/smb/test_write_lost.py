"""A file that is written when its connection is lost, on a real Samba and on one in memory."""

from __future__ import annotations

import os
from collections.abc import Callable

import pytest
import trio
import trio.testing

from netfsfuse.errors import Disconnected, NetfsError, Stale
from netfsfuse.lab.server.samba import PrivateSamba
from tests.smb.test_file import Reader
from tests.smb.test_real_samba import session_to
from tests.smb.test_writable import MIB, Holding, Writer, namespace_of
from tests.support.proxy import PrivateProxy


async def test_the_next_call_opens_it_again_with_its_lease(samba: PrivateSamba) -> None:
    async with session_to(samba) as session:
        namespace, holding = namespace_of(session), Holding()
        file, _ = await namespace.create("again", exclusive=False, holder=holding)
        shared = file.share()
        await Writer(file).write(0, b"before")
        assert session.live is not None
        session.live.fail(Disconnected("lost"))
        assert not file.is_leased
        await Writer(file).write(3, b"after")
        assert file.is_leased
        with trio.fail_after(10):
            while not holding.asked:
                await trio.sleep(0.01)
        assert holding.asked == [False]
        assert await Reader(shared).read(0, 100) == b"befafter"
        attr = await file.finish()
        assert attr is not None
        assert attr.size == 8
        assert await Reader(shared).read(0, 100) == b"befafter"
        await shared.aclose()
        assert len(session.leases) == 0
    assert (samba.path / "again").read_bytes() == b"befafter"


async def test_a_file_that_was_replaced_meanwhile_is_stale(samba: PrivateSamba) -> None:
    async with session_to(samba) as session:
        namespace = namespace_of(session)
        file, _ = await namespace.create("replaced", exclusive=False, holder=Holding())
        await Writer(file).write(0, b"ours")
        assert session.live is not None
        session.live.fail(Disconnected("lost"))
        (samba.path / "replaced").unlink()
        (samba.path / "other").write_bytes(b"theirs")
        (samba.path / "other").rename(samba.path / "replaced")
        for _ in range(2):
            with pytest.raises(Stale):
                await Writer(file).write(0, b"late")
        with pytest.raises(Stale):
            await file.flush()
        assert await file.finish() is None
        assert len(session.leases) == 0
    assert (samba.path / "replaced").read_bytes() == b"theirs"


async def test_a_write_under_way_is_told_and_not_repeated(
    samba: PrivateSamba, proxy: Callable[..., PrivateProxy]
) -> None:
    """Held up on its way, its buffer comes back when the connection is given up."""
    content = os.urandom(16 * MIB)
    link = proxy(samba.port)
    async with session_to(samba, port=link.port) as session:
        namespace = namespace_of(session)
        file, _ = await namespace.create("told", exclusive=False, holder=Holding())
        writer = Writer(file)
        failed: list[NetfsError] = []

        async def one(start: int) -> None:
            try:
                await writer.write(start, content[start : start + MIB])
            except NetfsError as error:
                failed.append(error)

        link.pause()
        async with trio.open_nursery() as nursery:
            for start in range(0, len(content), MIB):
                nursery.start_soon(one, start)
            await trio.testing.wait_all_tasks_blocked(0.1)
            assert session.live is not None
            session.live.fail(Disconnected("lost"))
        link.cut()
        link.resume()
        assert len(failed) == 16
        assert {type(error) for error in failed} == {Disconnected}
        assert session._stats.messages["write"] == 16
        for buffer in writer.buffers:
            buffer.drop()
        assert len(writer.freed) == 16
        await Writer(file).write_many(content)
        assert session._stats.messages["write"] == 32
        await file.finish()
    assert (samba.path / "told").read_bytes() == content
