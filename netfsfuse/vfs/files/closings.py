"""Files that the kernel has closed, and what is left to be done for them.

FUSE_RELEASE is answered at once: the kernel allows few requests of its kind at a time (12), and its
readahead waits behind them. The rest goes on in a task of the service nursery: what was sent is
waited for, the server's handle closed, and what is still to be stored is stored.
"""

from __future__ import annotations

import math
from collections.abc import Awaitable, Callable

import trio

from netfsfuse.idle import Idle
from netfsfuse.tasks import ServiceNursery
from netfsfuse.vfs.files.handle import FileHandles
from netfsfuse.vfs.inodes.inodes import Inode

CLOSE_SECONDS = 30.0
"""What a close may take: as long as any call. Stores go on after that."""

CLOSED_SECONDS = 1.0
"""The kernel tells of a last close a moment after the program's close(2) has returned: within
milliseconds, where nothing keeps its requests back."""

_GRACE = 2.0


class Closings:
    """What closing takes, behind the kernel's back. ``handles`` are those that are open still."""

    def __init__(self, nursery: ServiceNursery, handles: FileHandles) -> None:
        self._nursery = nursery
        self._handles = handles
        self._scopes: dict[trio.CancelScope, Inode] = {}
        self._over = Idle()
        self._one_over = trio.Event()

    def begin(
        self, inode: Inode, close: Callable[[], Awaitable[None]], *, sends: bool = False
    ) -> None:
        """Await ``close()``, of a handle of ``inode``, in the background. It may be cancelled; one
        that ``sends`` what was written takes as long as that takes."""
        seconds = math.inf if sends else CLOSE_SECONDS
        scope = trio.CancelScope(deadline=trio.current_time() + seconds)
        self._scopes[scope] = inode
        self._nursery.start_soon(self._run, close, scope)

    async def _run(self, close: Callable[[], Awaitable[None]], scope: trio.CancelScope) -> None:
        try:
            with scope:
                await close()
        finally:
            del self._scopes[scope]
            ended, self._one_over = self._one_over, trio.Event()
            ended.set()
            if not self._scopes:
                self._over.wake()

    async def wait(self, directory: Inode, name: str) -> None:
        """Files that were found by ``name``, or below it, and that a program has closed are closed
        on the server when this returns; after ``CLOSED_SECONDS`` whatever is."""
        with trio.move_on_after(CLOSED_SECONDS):
            await self._handles.wait_closed(directory, name)
            while any(inode.is_at(directory, name) for inode in self._scopes.values()):
                await self._one_over.wait()

    async def aclose(self) -> None:
        """Give those under way a moment, then cancel them; returns when they are over. What they
        have to send is to be sent before."""
        with trio.move_on_after(_GRACE):
            await self._over.wait(lambda: self._scopes)
        for scope in self._scopes:
            scope.cancel()
        await self._over.wait(lambda: self._scopes)
