"""Sessions, files and channels against a real Samba: right bytes, whatever the limits."""

from __future__ import annotations

import os
import random
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager

import pytest
import trio

from netfsfuse.config import Credentials, ServerConfig
from netfsfuse.lab.server.samba import PrivateSamba
from netfsfuse.netfs.demand import Demand
from netfsfuse.netfs.memory.buffer import Buffer
from netfsfuse.smb.connection.apart import undo_create
from netfsfuse.smb.connection.exchange import Request
from netfsfuse.smb.session import saturation
from netfsfuse.smb.session.dialler import Dialler
from netfsfuse.smb.session.session import Session
from netfsfuse.smb.share import siblings
from netfsfuse.smb.share.namespace import SmbNamespace
from netfsfuse.smb.wire.create import FILE_DIRECTORY_FILE, pack_create
from netfsfuse.smb.wire.header import RELATED_FILE_ID, Command
from netfsfuse.smb.wire.notify import pack_change_notify
from netfsfuse.stats import ServerStats
from tests.support.proxy import PrivateProxy

MIB = 1 << 20
SIZE = 12 * MIB + 12345


@asynccontextmanager
async def session_to(server: PrivateSamba, **more: object) -> AsyncIterator[Session]:
    who = Credentials(username=server.username, password=server.password)
    config = ServerConfig(
        **{"host": server.host, "share": server.share, "port": server.port, "credentials": who}
        | more  # type: ignore[arg-type]
    )
    stats = ServerStats()
    async with trio.open_nursery() as nursery:
        session = Session(Dialler(config, stats=stats), nursery=nursery)
        await session.connect()
        yield session
        await session.aclose()
        nursery.cancel_scope.cancel()
    assert (stats.in_flight, stats.channels, stats.credits) == (0, 0, 0)


def content_of(server: PrivateSamba, name: str) -> bytes:
    content = os.urandom(SIZE)
    (server.path / name).write_bytes(content)
    return content


async def read_all(
    session: Session, name: str, size: int, *, depth: int, chance: random.Random
) -> bytes:
    """All of a file, in pieces of random sizes, ``depth`` at a time in random order."""
    file, _ = await SmbNamespace(session).open(name)
    whole, pieces, start = bytearray(size), [], 0
    while start < size:
        length = min(chance.choice([1, 4096, 65536, 300_000, MIB, 2 * MIB]), size - start)
        pieces.append((start, length))
        start += length
    chance.shuffle(pieces)

    async def work() -> None:
        buffer = Buffer(2 * MIB, lambda _: None)
        buffer.hold()
        while pieces:
            start, length = pieces.pop()
            done = 0
            while done < length:
                demand = Demand(urgent=chance.random() < 0.5)
                got = await file.read(start + done, length - done, buffer, done, demand=demand)
                assert 0 < got <= length - done
                assert demand.sent
                done += got
            whole[start : start + length] = buffer.payload[:length]

    async with trio.open_nursery() as nursery:
        for _ in range(depth):
            nursery.start_soon(work)
    await file.aclose()
    return bytes(whole)


@pytest.mark.parametrize("seed", range(3))
async def test_right_bytes_with_random_limits(
    any_samba: PrivateSamba, seed: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    chance = random.Random(seed)
    monkeypatch.setattr(saturation, "SECONDS", 0.0)
    monkeypatch.setattr(saturation, "BUSY", 2 * MIB)
    monkeypatch.setattr(siblings, "EXTRA_HANDLE_MIN_BYTES", MIB)
    name = f"random-{seed}"
    content = content_of(any_samba, name)
    max_channels = chance.randint(1, 4)
    max_credits = chance.choice([20, 21, 40, 128, 500, 8192])
    async with session_to(any_samba, max_channels=max_channels, max_credits=max_credits) as session:
        depth = chance.randint(8, 24)
        assert await read_all(session, name, SIZE, depth=depth, chance=chance) == content
        assert 1 <= session._stats.channels <= max_channels
        assert session.read_capacity() <= max_channels * max_credits * 65536


async def test_several_channels_carry_one_file(
    any_samba: PrivateSamba, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(saturation, "SECONDS", 0.0)
    monkeypatch.setattr(saturation, "BUSY", MIB)
    monkeypatch.setattr(siblings, "EXTRA_HANDLE_MIN_BYTES", 0)
    content = content_of(any_samba, "several")
    chance = random.Random(0)
    async with session_to(any_samba, max_channels=3) as session:
        capacity = session.read_capacity()
        with trio.fail_after(60):
            while session._stats.channels < 3:
                assert await read_all(session, "several", SIZE, depth=24, chance=chance) == content
        assert session.read_capacity() > capacity
        assert await read_all(session, "several", SIZE, depth=24, chance=chance) == content


@pytest.mark.parametrize("dialect", ["2.1", "3.0", "3.0.2", "3.1.1"])
@pytest.mark.parametrize("option", ["signing", "encryption"])
async def test_every_dialect_where_the_server_demands_protection(
    samba_factory: Callable[..., PrivateSamba], dialect: str, option: str
) -> None:
    demands = {
        "signing": {"server signing": "mandatory"},
        "encryption": {"smb encrypt": "required"},
    }
    if option == "encryption" and dialect == "2.1":
        option = "signing"  # it cannot encrypt
    server = samba_factory(demands[option])
    content = content_of(server, "f")
    async with session_to(server, dialect=dialect) as session:
        got = await read_all(session, "f", SIZE, depth=8, chance=random.Random(1))
        assert got == content


@pytest.mark.parametrize(
    "options",
    [{"sign_unasked": False}, {}, {"dialect": "3.0.2"}, {"seal": True}],
    ids=["plain", "gmac", "cmac", "sealed"],
)
async def test_what_is_pending_is_cancelled(
    samba: PrivateSamba, options: dict[str, object]
) -> None:
    """The server answers what it is told to leave off, and goes on talking to us."""
    async with session_to(samba, **options) as session:
        transport = await session.transport()
        requests = [
            Request(
                Command.CREATE,
                pack_create("", access=1, options=FILE_DIRECTORY_FILE),
                undo=undo_create,
            ),
            Request(Command.CHANGE_NOTIFY, pack_change_notify(RELATED_FILE_ID)),
        ]
        with trio.move_on_after(10) as scope:
            async with trio.open_nursery() as nursery:
                nursery.start_soon(transport.exchange, requests)
                while not any(entry.interim for entry in transport._pending.values()):
                    await trio.sleep(0.01)
                scope.cancel()
        with trio.fail_after(10):
            while transport._pending:
                await trio.sleep(0.01)
        assert session._stats.messages["cancel"] == 1
        await SmbNamespace(session).stat("")
        assert session.live is transport


@pytest.mark.parametrize(
    "most",
    [
        {"smb2 max credits": "1"},
        {"smb2 max credits": "2"},
        {"smb2 max read": "8192", "smb2 max trans": "8192"},
        {"max open files": "110"},
    ],
    ids=["1 credit", "2 credits", "8 KiB", "110 files"],
)
async def test_a_server_that_gives_little(
    samba_factory: Callable[..., PrivateSamba], most: dict[str, str]
) -> None:
    server = samba_factory(most)
    content = content_of(server, "f")[: 3 * MIB]
    (server.path / "f").write_bytes(content)
    names = {f"f{n:03}" for n in range(150)}
    for name in names:
        (server.path / name).write_bytes(name.encode() * 20_000)
    async with session_to(server) as session:
        namespace = SmbNamespace(session, lease_trust=1.0)
        assert (await namespace.stat("f")).size == len(content)
        got = await read_all(session, "f", len(content), depth=8, chance=random.Random(1))
        assert got == content
        listing, listed = await namespace.list(""), set()
        while page := await listing.next_page():
            listed |= {entry.name for entry in page}
        assert listed == names | {"f"}
        await listing.aclose()
        for name in sorted(names):
            file, _ = await namespace.open(name)
            buffer = Buffer(MIB, lambda _: None)
            assert await file.read(0, 4096, buffer, 0, demand=Demand(urgent=True)) == 4096
            assert bytes(buffer.payload[:4]) == name.encode()
            await file.aclose()
        assert session.number == 1


async def test_credits_for_a_long_link_are_there_after_two_questions(
    samba: PrivateSamba, proxy: Callable[..., PrivateProxy]
) -> None:
    """60 MiB on their way: 1.2 GB/s at 50 ms."""
    async with session_to(samba, port=proxy(samba.port, delay=0.05).port) as session:
        namespace = SmbNamespace(session)
        for _ in range(2):
            await namespace.stat("")
        assert session.read_capacity() >= 60 * MIB


async def test_credits_grow_to_what_the_server_gives_and_no_more_than_we_allow(
    samba: PrivateSamba,
) -> None:
    async with session_to(samba) as session:
        for _ in range(20):
            await SmbNamespace(session).stat("")
        assert session._stats.credits >= 8000
    async with session_to(samba, max_credits=100) as session:
        for _ in range(20):
            await SmbNamespace(session).stat("")
        assert session.read_capacity() == (100 - 4) * 65536
