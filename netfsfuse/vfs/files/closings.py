"""Files that the kernel has closed, and what is left to be done for them.

FUSE_RELEASE is answered at once: the kernel allows few requests of its kind at a time (12), and its
readahead waits behind them. The rest goes on in a task of the service nursery: what was sent is
waited for, the server's handle closed, and what is still to be stored is stored.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable

import trio

from netfsfuse.idle import Idle
from netfsfuse.tasks import ServiceNursery

CLOSE_SECONDS = 30.0
"""What a close may take: as long as any call. Stores go on after that."""

_GRACE = 2.0


class Closings:
    """What closing takes, behind the kernel's back."""

    def __init__(self, nursery: ServiceNursery) -> None:
        self._nursery = nursery
        self._scopes: set[trio.CancelScope] = set()
        self._over = Idle()

    def begin(self, close: Callable[[], Awaitable[None]]) -> None:
        """Await ``close()`` in the background. It may be cancelled."""
        scope = trio.CancelScope(deadline=trio.current_time() + CLOSE_SECONDS)
        self._scopes.add(scope)
        self._nursery.start_soon(self._run, close, scope)

    async def _run(self, close: Callable[[], Awaitable[None]], scope: trio.CancelScope) -> None:
        try:
            with scope:
                await close()
        finally:
            self._scopes.discard(scope)
            if not self._scopes:
                self._over.wake()

    async def aclose(self) -> None:
        """Give those under way a moment, then cancel them; returns when they are over."""
        with trio.move_on_after(_GRACE):
            await self._over.wait(lambda: self._scopes)
        for scope in self._scopes:
            scope.cancel()
        await self._over.wait(lambda: self._scopes)
