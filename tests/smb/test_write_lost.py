"""A file that is written when its connection is lost, on a real Samba and on one in memory."""

from __future__ import annotations

import os
from collections.abc import Callable

import pytest
import trio
import trio.testing

from netfsfuse.errors import Disconnected, NetfsError, Stale
from netfsfuse.lab.server.samba import PrivateSamba
from netfsfuse.smb.wire.header import Command, pack_frame, pack_header
from netfsfuse.smb.wire.write import pack_write
from tests.smb.test_file import Reader
from tests.smb.test_real_samba import session_to
from tests.smb.test_writable import MIB, Holding, Writer, namespace_of
from tests.support.proxy import PrivateProxy


class Deaf:
    """A socket that does not tell the other end that it is closed."""

    def shutdown(self, how: int) -> None:
        pass


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


async def test_the_server_ends_the_session_before(samba: PrivateSamba) -> None:
    """Though the lost connection stays open for all that it knows, as where a router has forgotten
    it: what it still receives on that is not done any more, and nothing stands in our way."""
    async with session_to(samba) as session:
        file, _ = await namespace_of(session).create("ended", exclusive=False, holder=Holding())
        old = session.live
        assert old is not None
        window, established = old._window, old.established
        left, old._sock = old._sock, Deaf()  # type: ignore[assignment]
        old.fail(Disconnected("lost"))
        with trio.fail_after(20):
            handle = file.handle.raw
            await Writer(file).write(0, b"after")
            assert session.live is not old
            assert file.is_leased
            body = pack_write(handle, 0, 5) + b"late!"
            header = pack_header(
                command=Command.WRITE,
                charge=1,
                credit_request=1,
                flags=0,
                next_command=0,
                message_id=window.next_message_id,
                tree_id=established.tree_id,
                session_id=established.session_id,
            )
            heard = old._receiver.intake.received_at
            left.send(pack_frame(len(header + body)) + header + body)
            while old._receiver.intake.received_at == heard and not old.ended.is_set():
                await trio.sleep(0.01)
        await file.finish()
    assert (samba.path / "ended").read_bytes() == b"after"
