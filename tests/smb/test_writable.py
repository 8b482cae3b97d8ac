"""Files that are written, against a real Samba: what its disk has afterwards."""

from __future__ import annotations

import os
from collections.abc import Callable

import trio

from netfsfuse.lab.server.samba import PrivateSamba
from netfsfuse.netfs.demand import Demand
from netfsfuse.netfs.memory.buffer import Buffer
from netfsfuse.smb.session.session import Session
from netfsfuse.smb.share.namespace import SmbNamespace
from netfsfuse.smb.share.writable import WritableSmbFile
from tests.smb.test_real_samba import session_to

MIB = 1 << 20


class Holding:
    """A holder that notes what it was asked; ``dirty`` is done before it gives back."""

    def __init__(self) -> None:
        self.asked: list[bool] = []
        self.dirty: Callable[[], object] | None = None

    async def give_back(self, *, keeps_reads: bool) -> None:
        self.asked.append(keeps_reads)
        if self.dirty is not None:
            await self.dirty()  # type: ignore[misc]


class Writer:
    """Writes from buffers of its own, which must come back."""

    def __init__(self, file: WritableSmbFile) -> None:
        self.file = file
        self.freed: list[Buffer] = []
        self.buffers: list[Buffer] = []

    async def write(self, start: int, data: bytes, *, at: int = 0) -> None:
        buffer = Buffer(at + len(data), self.freed.append)
        self.buffers.append(buffer)
        buffer.hold()
        buffer.payload[at:] = data
        done = 0
        while done < len(data):
            left = len(data) - done
            demand = Demand(urgent=True)
            count = await self.file.write(start + done, left, buffer, at + done, demand=demand)
            assert 0 < count <= left
            assert demand.sent
            done += count
        assert buffer.payload[at:] == data
        buffer.drop()

    async def write_many(self, content: bytes, piece: int = MIB) -> None:
        """In pieces, all at once."""
        async with trio.open_nursery() as nursery:
            for start in range(0, len(content), piece):
                nursery.start_soon(self.write, start, content[start : start + piece])
        assert len(self.freed) == len(self.buffers)


def namespace_of(session: Session) -> SmbNamespace:
    return SmbNamespace(session, lease_trust=1.0)


async def test_made_written_cut_dated_and_closed(any_samba: PrivateSamba) -> None:
    content = os.urandom(8 * MIB + 12345)
    path = any_samba.path / "made"
    path.unlink(missing_ok=True)
    async with session_to(any_samba) as session:
        namespace = namespace_of(session)
        file, made = await namespace.create("made", exclusive=True, holder=Holding())
        assert made
        assert file.may_read
        assert file.attr.file_id == path.stat().st_ino
        assert file.attr.size == 0
        assert file.is_leased is namespace.leasing
        await Writer(file).write_many(content)
        await file.flush()
        assert path.read_bytes() == content
        await file.set_size(8 * MIB)
        assert path.stat().st_size == 8 * MIB
        await file.set_size(8 * MIB + 100)
        await file.set_times(access=None, write=1_000_000_000_123_456_700)
        assert (await file.query()).size == 8 * MIB + 100
        stats = session._stats
        assert stats.bytes_written == len(content)
        assert stats.writes == stats.messages["write"] >= 9
        attr = await file.finish()
        assert attr == await namespace.stat("made")
        assert attr is not None
        assert attr.size == 8 * MIB + 100
        assert attr.write == 1_000_000_000_123_456_700
    assert path.read_bytes() == content[: 8 * MIB] + bytes(100)
    assert path.stat().st_mtime_ns == 1_000_000_000_123_456_700
    path.unlink()
