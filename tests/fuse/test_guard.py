"""Nothing but a result, a FUSEError or a cancellation leaves a handler, and none takes for ever."""

from __future__ import annotations

import errno
import logging

import pyfuse3
import pytest
import trio
import trio.testing

from netfsfuse import errors
from netfsfuse.fuse.deadlines import Deadlines
from netfsfuse.fuse.guard import DEADLINE, guarded, guarded_after, never_raises, patient, prompt
from netfsfuse.stats import Stats


class Handlers:
    """Handlers that fail as they are told."""

    def __init__(self) -> None:
        self.stats = Stats()
        self.deadlines = Deadlines(DEADLINE)
        self.error: BaseException | None = None
        self.at_hand: int | None = None

    async def _act(self) -> int:
        await trio.lowlevel.checkpoint()
        if self.error is not None:
            raise self.error
        return 42

    @guarded
    async def getattr(self) -> int:
        """Doc."""
        return await self._act()

    @prompt
    async def release(self) -> int:
        """Doc."""
        return await self._act()

    def _ready(self) -> int | None:
        if self.error is not None:
            raise self.error
        return self.at_hand

    @guarded_after(_ready)
    async def read(self) -> int:
        """Doc."""
        await trio.sleep_forever()
        return 42

    @guarded
    async def hang(self) -> None:
        await trio.sleep_forever()

    @patient
    async def fsync(self, seconds: float) -> None:
        await trio.sleep(seconds)
        raise errors.DeadlineExceeded("no byte for 30 s")

    @never_raises
    async def forget(self) -> None:
        await self._act()


async def failing(error: BaseException) -> tuple[pyfuse3.FUSEError, Handlers]:
    handlers = Handlers()
    handlers.error = error
    with pytest.raises(pyfuse3.FUSEError) as caught:
        await handlers.getattr()
    return caught.value, handlers


async def test_a_result_passes() -> None:
    assert await Handlers().getattr() == 42
    assert Handlers.getattr.__name__ == "getattr"


async def test_a_fuse_error_passes() -> None:
    error = pyfuse3.FUSEError(errno.ENODATA)
    caught, handlers = await failing(error)
    assert caught is error
    assert handlers.stats.application.errors == 0


async def test_an_expected_error_is_an_answer(caplog: pytest.LogCaptureFixture) -> None:
    caught, handlers = await failing(errors.NotFound("x"))
    assert caught.errno == errno.ENOENT
    assert handlers.stats.application.errors == 0
    assert caplog.records == []


async def test_a_failed_server_is_a_line_in_the_log(caplog: pytest.LogCaptureFixture) -> None:
    caught, handlers = await failing(errors.Disconnected("the server is gone"))
    assert caught.errno == errno.EIO
    assert handlers.stats.application.errors == 1
    (record,) = caplog.records
    assert record.levelno == logging.WARNING
    assert "getattr: Disconnected: the server is gone" in record.getMessage()
    assert record.exc_info is None


@pytest.mark.parametrize(
    "error",
    [
        ZeroDivisionError("oops"),
        OSError(errno.ENOSPC, "full"),
        KeyError(1),
        StopIteration(),
        ExceptionGroup("several", [ValueError("one"), errors.NotFound("two")]),
    ],
)
async def test_anything_else_is_eio_with_a_traceback(
    error: Exception, caplog: pytest.LogCaptureFixture
) -> None:
    caught, handlers = await failing(error)
    assert caught.errno == errno.EIO
    assert handlers.stats.application.errors == 1
    assert caplog.records[0].exc_info is not None
    assert "Traceback" in caplog.text


@pytest.mark.parametrize(
    ("error", "code", "counted"),
    [
        (pyfuse3.FUSEError(errno.ENODATA), errno.ENODATA, 0),
        (errors.NotFound("x"), errno.ENOENT, 0),
        (errors.Disconnected("gone"), errno.EIO, 1),
        (ZeroDivisionError("oops"), errno.EIO, 1),
    ],
)
async def test_a_prompt_handler_answers_the_same(
    error: Exception, code: int, counted: int, caplog: pytest.LogCaptureFixture
) -> None:
    handlers = Handlers()
    assert await handlers.release() == 42
    handlers.error = error
    with pytest.raises(pyfuse3.FUSEError) as caught:
        await handlers.release()
    assert (caught.value.errno, handlers.stats.application.errors) == (code, counted)
    assert len(caplog.records) == counted


async def test_what_is_at_hand_is_the_answer_and_else_there_is_a_deadline(
    autojump_clock: trio.testing.MockClock,
) -> None:
    handlers = Handlers()
    handlers.at_hand = 0
    assert await handlers.read() == 0
    handlers.error = errors.NotFound("x")
    with pytest.raises(pyfuse3.FUSEError) as caught:
        await handlers.read()
    assert caught.value.errno == errno.ENOENT
    handlers.error = handlers.at_hand = None
    async with trio.open_nursery() as nursery:
        nursery.start_soon(handlers.deadlines.run)
        with pytest.raises(pyfuse3.FUSEError) as caught:
            await handlers.read()
        assert caught.value.errno == errno.ETIMEDOUT
        nursery.cancel_scope.cancel()


async def test_every_handler_ends_by_the_deadline(
    autojump_clock: trio.testing.MockClock, caplog: pytest.LogCaptureFixture
) -> None:
    """Each by its own, also those that begin while others wait, or wake up after hours."""
    handlers = Handlers()
    ended: list[float] = []

    async def hang() -> None:
        with pytest.raises(pyfuse3.FUSEError) as caught:
            await handlers.hang()
        assert caught.value.errno == errno.ETIMEDOUT
        ended.append(trio.current_time() - begun)

    async with trio.open_nursery() as nursery:
        nursery.start_soon(handlers.deadlines.run)
        await trio.sleep(5000)
        begun = trio.current_time()
        async with trio.open_nursery() as callers:
            for _ in range(3):
                callers.start_soon(hang)
                assert await handlers.getattr() == 42
                await trio.sleep(10)
        await trio.sleep(5000)
        nursery.cancel_scope.cancel()
    assert ended == [30, 40, 50]
    assert DEADLINE == 30
    assert "hang: no answer within 30 s" in caplog.text


async def test_a_patient_handler_has_no_deadline_but_what_it_awaits(
    autojump_clock: trio.testing.MockClock, caplog: pytest.LogCaptureFixture
) -> None:
    handlers = Handlers()
    async with trio.open_nursery() as nursery:
        nursery.start_soon(handlers.deadlines.run)
        with pytest.raises(pyfuse3.FUSEError) as caught:
            await handlers.fsync(3600)
        nursery.cancel_scope.cancel()
    assert trio.current_time() >= 3600
    assert caught.value.errno == errno.ETIMEDOUT
    assert "fsync: DeadlineExceeded: no byte for 30 s" in caplog.text


async def test_cancellation_passes(autojump_clock: trio.testing.MockClock) -> None:
    with trio.move_on_after(1) as scope:
        await Handlers().hang()
    assert scope.cancelled_caught


@pytest.mark.parametrize(
    "error", [pyfuse3.FUSEError(errno.EIO), errors.Stale("x"), ZeroDivisionError("oops")]
)
async def test_forget_raises_nothing_at_all(
    error: Exception, caplog: pytest.LogCaptureFixture
) -> None:
    handlers = Handlers()
    handlers.error = error
    await handlers.forget()
    assert "forget failed" in caplog.text
