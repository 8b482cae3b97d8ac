"""Somebody who waits for replies."""

from __future__ import annotations

import trio

from netfsfuse.errors import NetfsError
from netfsfuse.smb.exchange import Reply, Request
from tests.smb.peer import Line


class Caller:
    """One exchange in a task of its own; ``replies`` or ``error`` once it is over."""

    def __init__(self, line: Line, *requests: Request, urgent: bool = True) -> None:
        self.line, self.requests, self.urgent = line, requests, urgent
        self.replies: list[Reply] = []
        self.error: NetfsError | None = None
        self.over = trio.Event()
        self.scope = trio.CancelScope()

    async def run(self) -> None:
        try:
            with self.scope:
                self.replies = await self.line.transport.exchange(
                    self.requests, urgent=self.urgent
                )
        except NetfsError as error:
            self.error = error
        finally:
            self.over.set()
