"""What the judge is asked is counted by its reason, and logged where debug lines are wanted."""

from __future__ import annotations

import logging

import pytest
import trio
import trio.testing

from netfsfuse.config import TrustConfig
from netfsfuse.stats import Stats
from netfsfuse.vfs.coherency.judge import Judge
from netfsfuse.vfs.coherency.reason import Reason
from netfsfuse.vfs.inodes.inodes import Inode
from tests.vfs.fakes import Node, Vfs, dir_attr, file_attr, mounted

Clock = trio.testing.MockClock


def given(vfs: Vfs, before: dict[str, int] | None = None) -> dict[str, int]:
    """Reason -> how often it was given since ``before``."""
    counts: dict[str, int] = vfs.stats.snapshot()["trust"]
    known = before or {}
    return {
        why: count - known.get(why, 0) for why, count in counts.items() if count > known.get(why, 0)
    }


def tree() -> dict[str, Node]:
    return {"f": Node(file_attr(11, 3), b"one")}


def test_all_reasons_are_shown_from_the_beginning() -> None:
    stats = Stats()
    Judge(TrustConfig(), stats.trust)
    shown = stats.snapshot()["trust"]
    assert shown == {reason.value: 0 for reason in Reason}
    assert {type(reason) for reason in shown} == {str}


async def test_a_lookup_is_counted(autojump_clock: Clock) -> None:
    async with mounted(tree()) as vfs:
        await vfs.lookup("f")
        assert given(vfs) == {"unlisted": 1}


async def test_a_getattr_is_counted_by_its_reason(autojump_clock: Clock) -> None:
    async with mounted(tree(), actimeo=5.0) as vfs:
        await vfs.lookup("f")
        before = vfs.stats.snapshot()["trust"]
        await vfs.fs.getattr(11)
        assert given(vfs, before) == {"lifetime": 1}
        before = vfs.stats.snapshot()["trust"]
        await trio.sleep(5.1)
        await vfs.fs.getattr(11)
        assert given(vfs, before) == {"expired": 1, "unlisted": 1}


async def test_an_open_is_counted(autojump_clock: Clock) -> None:
    async with mounted(tree(), mode="loose", actimeo=5.0) as vfs:
        await vfs.lookup("f")
        assert await vfs.content(11) == b"one"
        before = vfs.stats.snapshot()["trust"]
        assert await vfs.content(11) == b"one"
        counted = given(vfs, before)
        assert counted["loose"] == counted["opened"] == 1


async def test_a_listing_is_counted(autojump_clock: Clock) -> None:
    async with mounted(tree(), actimeo=5.0) as vfs:
        for expected in ({"unlisted": 1}, {"lifetime": 1}):
            before = vfs.stats.snapshot()["trust"]
            fh = await vfs.fs.opendir(1)
            assert given(vfs, before) == expected
            while await vfs.fs.readdir(fh, position := 0 if expected else 1):
                if (batch := await vfs.fs.readdir(fh, position + 1)) == []:
                    break
                position = batch[-1][1]
            await vfs.fs.releasedir(fh)


@pytest.mark.parametrize("wanted", [True, False])
async def test_a_decision_is_logged_once_where_that_is_wanted(
    wanted: bool, caplog: pytest.LogCaptureFixture
) -> None:
    level = logging.DEBUG if wanted else logging.INFO
    with caplog.at_level(level, "netfsfuse.vfs.coherency.judge"):
        judge = Judge(TrustConfig(), Stats().trust)
        judge.attributes(Inode(11, Inode(1, None, "", dir_attr(1)), "f", file_attr(11, 3)))
    assert caplog.messages == (["attributes of 'f': expired"] if wanted else [])
