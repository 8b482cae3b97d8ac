"""The end of a mount that has something to send."""

from __future__ import annotations

import logging

import pytest
import trio
import trio.testing

from netfsfuse import mount
from netfsfuse.ending import DRAIN_SECONDS, Ending

Clock = trio.testing.MockClock


class Unsent:
    """In the place of file system and netfs: so many bytes are left, one goes each 10 s until
    ``stuck`` are."""

    def __init__(self, left: int, stuck: int = 0, files: int = 1) -> None:
        self.left = left
        self._stuck = stuck
        self._files = files
        self.is_closed = False

    async def aclose(self) -> None:
        """The file system's."""
        self.is_closed = True

    async def drain(self) -> None:
        """The helper library's."""
        assert self.is_closed
        while self.left > self._stuck:
            await trio.sleep(10)
            self.left -= 1
        if self.left:
            await trio.sleep_forever()

    def unsent(self) -> list[tuple[str, int]]:
        """The helper library's."""
        return [(f"file {n}", self.left) for n in range(self._files)] if self.left else []


async def wind_down(unsent: Unsent) -> float:
    """How long it takes."""
    ending = Ending()
    ending.progress = lambda: unsent.left
    begun = trio.current_time()
    await mount._wind_down(unsent, unsent, ending)  # type: ignore[arg-type]
    return trio.current_time() - begun


async def test_it_takes_as_long_as_bytes_go(
    autojump_clock: Clock, caplog: pytest.LogCaptureFixture
) -> None:
    assert await wind_down(Unsent(30)) == pytest.approx(300)
    assert caplog.records == []


async def test_what_is_lost_is_named(
    autojump_clock: Clock, caplog: pytest.LogCaptureFixture
) -> None:
    took = await wind_down(Unsent(9, stuck=4, files=2))
    assert took == pytest.approx(50 + DRAIN_SECONDS, abs=1)
    (record,) = caplog.records
    assert record.levelno == logging.ERROR
    assert record.getMessage() == (
        "8 bytes of 2 files did not get to the server, and are lost, as nothing has moved for "
        "20 s: 'file 0' (4 bytes), 'file 1' (4 bytes)"
    )


async def test_of_many_lost_files_some_are_named(
    autojump_clock: Clock, caplog: pytest.LogCaptureFixture
) -> None:
    await wind_down(Unsent(1, stuck=1, files=1000))
    (record,) = caplog.records
    assert "1000 bytes of 1000 files" in record.getMessage()
    assert record.getMessage().endswith("'file 19' (1 bytes), and others")


async def test_a_cache_that_hangs_loses_nothing(
    autojump_clock: Clock, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    unsent = Unsent(1, stuck=1)
    monkeypatch.setattr(unsent, "unsent", list)
    await wind_down(unsent)
    assert "gave up waiting for the cache after 20 s" in caplog.text
