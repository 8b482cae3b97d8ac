"""Those who wait for replies."""

from __future__ import annotations

import trio

from netfsfuse.errors import NetfsError
from netfsfuse.netfs.demand import Demand
from netfsfuse.smb.connection.exchange import Reply, Request
from tests.smb.peer import Line, echo


class Caller:
    """One exchange in a task of its own; ``replies`` or ``error`` once it is over."""

    def __init__(self, line: Line, *requests: Request, demand: Demand | None = None) -> None:
        self.line, self.requests, self.demand = line, requests, demand
        self.replies: list[Reply] = []
        self.error: NetfsError | None = None
        self.over = trio.Event()
        self.scope = trio.CancelScope()

    async def run(self) -> None:
        try:
            with self.scope:
                self.replies = await self.line.transport.exchange(self.requests, self.demand)
        except NetfsError as error:
            self.error = error
        finally:
            self.over.set()


async def waiting(line: Line, nursery: trio.Nursery) -> list[Caller]:
    """Three who wait: for a READ (MessageId 10), for an ECHO (11), and for a READ, abandoned."""
    callers = [
        Caller(line, line.read(0, 1000)),
        Caller(line, echo()),
        Caller(line, line.read(1, 9)),
    ]
    for caller in callers:
        nursery.start_soon(caller.run)
        await line.peer.request()
    callers[2].scope.cancel()
    await callers[2].over.wait()
    return callers[:2]


async def all_end_with(callers: list[Caller], kind: type[NetfsError]) -> None:
    for caller in callers:
        with trio.fail_after(60):
            await caller.over.wait()
        assert type(caller.error) is kind, caller.error
