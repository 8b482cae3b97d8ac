"""One lease key a file, on a real Samba: what is ours breaks no lease of ours, and another client
waits for what was written."""

from __future__ import annotations

import os
from collections.abc import Iterator
from functools import partial

import pytest
import trio

from netfsfuse.lab.server.samba import PrivateSamba
from netfsfuse.smb.session import lease as leases
from netfsfuse.smb.share.namespace import SmbNamespace
from tests.smb.test_file import Reader
from tests.smb.test_real_samba import session_to
from tests.smb.test_writable import MIB, Holding, Writer, namespace_of
from tests.support.second_client import SecondClient, second_client


@pytest.fixture
def other(samba: PrivateSamba) -> Iterator[SecondClient]:
    with second_client(samba) as client:
        yield client


async def read_by(namespace: SmbNamespace, path: str, **more: object) -> bytes:
    """Opened, read and closed."""
    file, _ = await namespace.open(path, **more)  # type: ignore[arg-type]
    try:
        return await Reader(file).read(0, MIB)
    finally:
        await file.aclose()


async def test_what_is_ours_breaks_no_lease_of_ours(samba: PrivateSamba) -> None:
    """Opens by the same name, by a known FileId, fetches, looks and listings."""
    (samba.path / "ours").write_bytes(b"before")
    async with session_to(samba) as session:
        namespace, holding = namespace_of(session), Holding()
        known = await namespace.stat("ours")
        early, _ = await namespace.open("ours")
        file = await namespace.open_writing("ours", known=known, holder=holding)
        assert file.is_leased
        await Writer(file).write(0, b"after!")
        assert await Reader(early).read(0, MIB) == b"after!"
        assert await read_by(namespace, "ours") == b"after!"
        assert await read_by(namespace, "ours", known=known) == b"after!"
        deferred = namespace.open_deferred("ours", known, lambda _: None)
        assert await Reader(deferred).read(0, MIB) == b"after!"  # type: ignore[arg-type]
        await deferred.aclose()
        shared = file.share()
        assert await Reader(shared).read(0, MIB) == b"after!"
        assert await namespace.fetch("ours", 100) is None
        await namespace.stat("ours")
        assert await namespace.read_link("ours", known._replace(size=1067)) is None
        listing = await namespace.list("")
        await listing.aclose()
        assert file.is_leased
        assert session.leases.broken == 0
        assert holding.asked == []
        attr = await file.finish()
        assert attr == await namespace.stat("ours")
        assert await Reader(early).read(0, MIB) == b"after!"
        assert await Reader(shared).read(0, MIB) == b"after!"
        await early.aclose()
        await shared.aclose()
        assert session.leases.broken == 0
        assert len(session.leases) == 0
        assert not namespace._files._open
        assert not namespace._files._writers
        assert not namespace._files._hooks


async def test_readers_that_outlive_the_writer_keep_a_lease(
    samba: PrivateSamba, other: SecondClient
) -> None:
    """And hear when another client changes the file."""
    (samba.path / "left").write_bytes(b"before")
    async with session_to(samba) as session:
        namespace, heard = namespace_of(session), trio.Event()
        file = await namespace.open_writing("left", holder=Holding())
        reader, _ = await namespace.open("left", on_break=heard.set)
        await Writer(file).write(0, b"after!")
        await file.finish()
        assert reader.handle.is_leased
        assert not reader.handle.may_write
        await trio.to_thread.run_sync(other.write, "left", b"others")
        with trio.fail_after(10):
            await heard.wait()
        await reader.aclose()


async def test_a_write_lease_is_given_back_when_all_is_there(
    samba: PrivateSamba, other: SecondClient
) -> None:
    """64 MiB that wait here are read whole by another client which opens the file meanwhile."""
    content = os.urandom(64 * MIB)
    async with session_to(samba) as session:
        namespace, holding = namespace_of(session), Holding()
        file, _ = await namespace.create("given", exclusive=False, holder=holding)
        assert file.is_leased
        writer = Writer(file)
        leased_then: list[bool] = []

        async def dirty() -> None:
            holding.dirty = None
            leased_then.append(file.is_leased)
            await writer.write_many(content)

        holding.dirty = dirty
        got = await trio.to_thread.run_sync(other.read, "given")
        assert got == content
        assert holding.asked == [True]
        assert leased_then == [False]
        assert not file.is_leased
        assert session.leases.broken == 1
        await trio.to_thread.run_sync(partial(other.write, "given", b"theirs", mode="r+b"))
        await file.finish()
    assert (samba.path / "given").read_bytes() == b"theirs" + content[6:]


async def test_a_break_is_answered_though_the_holder_fails_or_takes_for_ever(
    samba: PrivateSamba, other: SecondClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(leases, "GIVE_BACK", 0.2)
    async with session_to(samba) as session:
        namespace, holding = namespace_of(session), Holding()
        for dirty in (partial(trio.sleep, 1000), partial(trio.to_thread.run_sync, int, "x")):
            holding.dirty = dirty
            file, _ = await namespace.create("stuck", exclusive=False, holder=holding)
            assert file.is_leased
            with trio.fail_after(10):
                await trio.to_thread.run_sync(other.read, "stuck")
            assert not file.is_leased
            await file.finish()


async def test_a_key_that_the_server_knows_for_another_file(samba: PrivateSamba) -> None:
    """The name leads to another file by now."""
    (samba.path / "first").write_bytes(b"first")
    async with session_to(samba) as session:
        namespace = namespace_of(session)
        known = await namespace.stat("first")
        early, _ = await namespace.open("first", known=known)
        (samba.path / "first").rename(samba.path / "moved")
        (samba.path / "first").write_bytes(b"second")
        file = await namespace.open_writing("first", known=known, holder=Holding())
        assert file.attr.file_id == (samba.path / "first").stat().st_ino != known.file_id
        assert file.is_leased
        assert await Reader(early).read(0, 100) == b"first"
        assert await Reader(file).read(0, 100) == b"second"
        await file.aclose()
        await early.aclose()


async def test_a_file_by_two_names_is_written_by_both(samba: PrivateSamba) -> None:
    """Samba knows a lease's key by the name, too: so neither has a write lease from then on, and
    what the first has is given back before the second is open."""
    (samba.path / "one").write_bytes(b"before")
    os.link(samba.path / "one", samba.path / "two")
    async with session_to(samba) as session:
        namespace = namespace_of(session)
        holding = Holding()
        one = await namespace.open_writing("one", holder=holding)
        assert one.is_leased
        known = await namespace.stat("two")
        two = await namespace.open_writing("two", known=known, holder=Holding())
        assert holding.asked
        assert not one.is_leased
        assert not two.is_leased
        await Writer(one).write(0, b"ab")
        await Writer(two).write(2, b"cd")
        assert await read_by(namespace, "two") == b"abcdre"
        await one.finish()
        assert await Reader(two).read(0, 100) == b"abcdre"
        await two.finish()
    assert (samba.path / "one").read_bytes() == b"abcdre"


async def test_a_break_to_nothing_forgets_what_was_read(
    samba: PrivateSamba, other: SecondClient
) -> None:
    async with session_to(samba) as session:
        namespace, holding = namespace_of(session), Holding()
        file, _ = await namespace.create("emptied", exclusive=False, holder=holding)
        await trio.to_thread.run_sync(other.write, "emptied", b"theirs")
        assert holding.asked
        assert holding.asked[-1] is False
        assert not file.handle.is_leased
        assert await Reader(file).read(0, 100) == b"theirs"
        await file.finish()
