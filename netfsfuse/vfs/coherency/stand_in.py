"""What is remembered stands in for a server that cannot be asked.

A desktop, a shell's prompt, every ``df`` and ``ls`` ask for attributes and listings again and
again, and hang where a mount does. So a question whose answer is remembered waits for the server
only for a while: until it is suspected to be dead, or, where the connection was lost in a way that
was told (a server restarted, a line cut), until ``GRACE`` seconds after the first question of the
outage: most are over by then, and no program has seen anything old. From then on until the server
is back it is answered from memory at once, however old that is. Each such answer is counted.

Absence is never answered so, nor an open, nor anything that changes the server: those wait, and
fail, as the server's reach says. What was opened before is read as far as it is cached.

One task watches all questions that are under way, which costs each of them an entry in a dict.
"""

from __future__ import annotations

import logging
import math
from collections.abc import Awaitable, Callable
from typing import TypeVar

import trio

from netfsfuse.errors import Disconnected, NetfsError
from netfsfuse.stats import VfsStats
from netfsfuse.tasks import ServiceNursery
from netfsfuse.types import Reach
from netfsfuse.vfs.ops import Reachability

log = logging.getLogger(__name__)

GRACE = 2.0
"""Seconds from the first question of an outage in which the server may be back."""

_STEP = 0.1

A = TypeVar("A")
M = TypeVar("M")


class StandIn:
    """Asks, and answers from memory where the server cannot. ``knock`` asks the server for
    anything, so that it is known when it is back; it may raise NetfsError. ``nursery`` owns one
    task from the first question on, and one that knocks; they end with :meth:`close`."""

    def __init__(
        self,
        reachability: Reachability,
        nursery: ServiceNursery,
        stats: VfsStats,
        knock: Callable[[], Awaitable[object]],
    ) -> None:
        self._reachability = reachability
        self._nursery = nursery
        self._stats = stats
        self._asking: dict[trio.CancelScope, None] = {}
        self._begun = trio.Event()
        self._scope: trio.CancelScope | None = None
        self._knock = knock
        self._knocking: trio.CancelScope | None = None
        self._closed = False
        self._outage = math.nan  # when the one began that was met last
        self._patience = 0.0  # until when its end is waited for

    def stands_in(self) -> bool:
        """Whether what is remembered is the answer, now."""
        reach = self._reachability.reach
        if reach is Reach.UP:
            return False
        if reach is Reach.SUSPECT:
            self._outage, self._patience = self._reachability.since, 0.0
            return True
        now, outage = trio.current_time(), self._reachability.since
        if outage != self._outage:
            self._outage, self._patience = outage, now + GRACE
        return now >= self._patience

    async def ask(
        self,
        question: Callable[[], Awaitable[A]],
        remembered: Callable[[], Awaitable[M | None]],
        *,
        limit: float = math.inf,
    ) -> A | M:
        """The answer to ``question``, or what is ``remembered`` where the server cannot be asked,
        or has not answered after ``limit`` seconds. Where nothing is (None) the question is asked
        for as long as it takes, from the beginning. Raises what ``question`` does, which may be
        cancelled and called again."""
        failed: Disconnected | None = None
        if not self.stands_in():
            scope = trio.CancelScope(deadline=trio.current_time() + limit)
            self._asking[scope] = None
            self._watch()
            try:
                with scope:
                    return await question()
            except Disconnected as lost:
                failed = lost
            finally:
                self._asking.pop(scope, None)
        found = await remembered()
        if found is not None:
            self._stats.from_memory += 1
            if self._knocking is None and not self._closed:
                self._knocking = trio.CancelScope()
                self._nursery.start_soon(self._knock_once, self._knocking)
            return found
        if failed is not None:
            raise failed
        return await question()

    def _watch(self) -> None:
        if self._scope is not None:
            self._begun.set()
        elif not self._closed:
            self._scope = trio.CancelScope()
            self._nursery.start_soon(self._run, self._scope)

    async def _run(self, scope: trio.CancelScope) -> None:
        """Cut the questions short that meet an outage."""
        try:
            with scope:
                while True:
                    await self._reachability.wait_not_up()
                    if self.stands_in():
                        for asking in self._asking:
                            asking.cancel()
                        self._begun = trio.Event()
                        await self._begun.wait()
                    else:
                        await trio.sleep(_STEP)
        finally:
            self._scope = None

    async def _knock_once(self, scope: trio.CancelScope) -> None:
        """Nothing else may ask the server for a while: it is asked where memory answers."""
        try:
            with scope:
                await self._knock()
        except NetfsError as away:
            log.debug("the server is still away: %s", away)
        finally:
            self._knocking = None

    def close(self) -> None:
        """No question is cut short any more."""
        self._closed = True
        for scope in (self._scope, self._knocking):
            if scope is not None:
                scope.cancel()
