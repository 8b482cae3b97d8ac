"""The place of a reply in a buffer: what it covers comes back, and one at a time."""

from __future__ import annotations

import pytest
import trio
import trio.testing

from netfsfuse.netfs.memory.buffer import PAGE, Buffer
from netfsfuse.smb.connection.exchange import Sink
from netfsfuse.smb.connection.landing import Landing, Landings
from netfsfuse.smb.wire.read import REPLY_OVERHEAD


@pytest.mark.parametrize("at", [0, 50, 1000, 65536 - 300])
@pytest.mark.parametrize("ending", ["clear", "wipe"])
def test_only_the_target_changes(at: int, ending: str) -> None:
    buffer = Buffer(65536, lambda _: None)
    buffer.memory[:] = b"o" * len(buffer.memory)
    landing = Landing(Landings(), Sink(buffer, at, 300), REPLY_OVERHEAD + 300, 16)
    assert len(landing.whole) == len(landing.message) + 16
    landing.whole[:] = b"n" * len(landing.whole)
    getattr(landing, ending)()
    payload = b"n" if ending == "clear" else b"\0"
    expected = b"o" * (PAGE + at) + payload * 300
    assert bytes(buffer.memory) == expected.ljust(len(buffer.memory), b"o")


async def test_one_at_a_time() -> None:
    landings, buffer, other = Landings(), Buffer(65536, lambda _: None), Buffer(1, lambda _: None)
    first = Landing(landings, Sink(buffer, 0, 100), 180)
    assert landings.is_free(other)
    assert not landings.is_free(buffer)
    woken = 0

    async def wait() -> None:
        nonlocal woken
        await landings.wait_free(buffer)
        woken += 1

    async with trio.open_nursery() as nursery:
        for _ in range(2):
            nursery.start_soon(wait)
        await trio.testing.wait_all_tasks_blocked()
        assert woken == 0
        first.clear()
    assert woken == 2
    assert landings.is_free(buffer)
    assert not landings._busy
