"""The guard round the tasks of the service nursery, and that no task goes without."""

from __future__ import annotations

import ast
import logging
from collections.abc import Iterator
from pathlib import Path

import pytest
import trio
import trio.testing

from netfsfuse.tasks import AGAIN_FIRST, ServiceNursery

Clock = trio.testing.MockClock
PACKAGE = Path(__file__).parent.parent / "netfsfuse"

NURSERIES = {
    "mount.py": "the service nursery itself",
    "warm.py": "a command of its own",
    "fscache/io.py": "one guarded task's",
    "fscache/maintenance.py": "one guarded task's",
    "fuse/lane.py": "one guarded task's",
    "ending.py": "ends with the call",
    "fuse/notifier.py": "one guarded task's",
    "fuse/workers.py": "one session's: what is raised ends it",
    "smb/connection/transport.py": "one connection's: what is raised ends the connection",
    "smb/session/race.py": "the attempts at the addresses of one server, ended before it returns",
    "smb/session/channels.py": "ends with the call",
    "smb/session/lease.py": "one guarded task's",
    "smb/share/siblings.py": "ends with the call",
    "vfs/files/writers.py": "ends with the call",
    "vfs/files/written.py": "ends with the call",
    "vfs/tree/links.py": "ends with the call",
    "vfs/feed/treewatch.py": "one feed's: what is raised begins it anew",
}
"""Where a nursery is opened, and what an exception in it ends."""

HANDED_ON = {
    "tasks.py",
    "fuse/workers.py",
    "smb/connection/proving.py",
    "smb/connection/receive.py",
    "smb/session/race.py",
    "vfs/feed/treewatch.py",
}
"""Where a bare nursery is handed on: no service nursery, but one of those above."""


def sources() -> Iterator[tuple[str, ast.AST]]:
    for path in sorted(PACKAGE.rglob("*.py")):
        name = str(path.relative_to(PACKAGE))
        if not name.startswith("lab/"):
            yield name, ast.parse(path.read_text())


def mentions(tree: ast.AST, name: str) -> bool:
    return any(isinstance(node, ast.Attribute) and node.attr == name for node in ast.walk(tree))


def test_nobody_is_given_a_nursery_that_it_could_take_down() -> None:
    """Types do the rest: what is no ``trio.Nursery`` is a ``ServiceNursery``."""
    assert {name for name, tree in sources() if mentions(tree, "open_nursery")} == set(NURSERIES)
    assert {name for name, tree in sources() if mentions(tree, "Nursery")} == HANDED_ON
    assert not [name for name, tree in sources() if mentions(tree, "spawn_system_task")]


async def fail(error: BaseException) -> None:
    await trio.lowlevel.checkpoint()
    raise error


async def test_a_task_that_fails_ends_no_other(caplog: pytest.LogCaptureFixture) -> None:
    failures: list[None] = []
    ended = trio.Event()

    async def other() -> None:
        await trio.testing.wait_all_tasks_blocked()
        ended.set()

    async with trio.open_nursery() as nursery:
        service = ServiceNursery(nursery, lambda: failures.append(None))
        service.start_soon(other)
        service.start_soon(fail, OSError(24, "Too many open files"))
        service.start_soon(fail, OSError(24, "Too many open files"))
        service.start_soon(fail, RuntimeError("can't start new thread"))
    assert ended.is_set()
    assert len(failures) == 3
    told = [record for record in caplog.records if record.levelno == logging.ERROR]
    assert len(told) == 2  # a line for each kind
    assert all(record.exc_info for record in told)


async def test_of_a_group_only_the_cancellation_goes_on() -> None:
    failures: list[None] = []

    async def both() -> None:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(trio.sleep_forever)
            try:
                await trio.sleep_forever()
            finally:
                raise ValueError("while it is cancelled")

    async with trio.open_nursery() as nursery:
        ServiceNursery(nursery, lambda: failures.append(None)).start_soon(both)
        await trio.testing.wait_all_tasks_blocked()
        nursery.cancel_scope.cancel()
    assert len(failures) == 1


async def test_what_is_no_exception_is_not_held_up() -> None:
    with pytest.RaisesGroup(KeyboardInterrupt, flatten_subgroups=True):
        async with trio.open_nursery() as nursery:
            ServiceNursery(nursery).start_soon(fail, KeyboardInterrupt())


async def test_a_task_that_others_count_on_is_begun_again(autojump_clock: Clock) -> None:
    begun: list[float] = []

    async def task(until: int) -> None:
        begun.append(trio.current_time())
        if len(begun) < until:
            await fail(ValueError())

    start = trio.current_time()
    async with trio.open_nursery() as nursery:
        ServiceNursery(nursery).keep_running(task, 4)
    assert [when - start for when in begun] == pytest.approx(
        [0, AGAIN_FIRST, 3 * AGAIN_FIRST, 7 * AGAIN_FIRST]
    )


async def test_a_closed_nursery_says_so() -> None:
    async with trio.open_nursery() as nursery:
        service = ServiceNursery(nursery)
    with pytest.raises(RuntimeError):
        service.start_soon(trio.sleep, 0)
