"""Names that an inode has left, through which the kernel may still come to it.

The kernel believes a name for its lifetime, and asks for an open by number alone; we open what is
at the path where the inode was found last. Once an inode is found by a second name, an open by the
first would be given the file of the second. That is right where both are links of one file. It is
wrong where the first name leads to another file by now, as when a program on the server has saved
two files anew and one was given the other's old number.

So the name that was left is noted, and asked for at the next open of the inode. If it leads
elsewhere, the kernel is made to drop it, and the open raises Stale: the kernel then looks up all
names of the path anew, whichever it came by. Directories above count as well.

It does so once. Who was refused at a path a moment ago comes to it by its names, and is let in.
"""

from __future__ import annotations

import math
from collections.abc import Awaitable, Callable

import trio

from netfsfuse.errors import NotFound, Stale
from netfsfuse.vfs.coherency.judge import Judge
from netfsfuse.vfs.inodes.inodes import Inode
from netfsfuse.vfs.ops import Namespace

_RETRY = 1.0
"""Seconds in which the kernel comes again after ESTALE; it takes some round trips."""


class FormerNames:
    """Keeps and confirms them. ``drop_entry(directory, name)`` returns when the kernel has dropped
    the name, or may be waited for no longer."""

    def __init__(
        self,
        namespace: Namespace,
        drop_entry: Callable[[Inode, str], Awaitable[None]],
        judge: Judge,
    ) -> None:
        self._namespace = namespace
        self._drop_entry = drop_entry
        self._judge = judge
        self._refused: dict[str, float] = {}

    def note(self, inode: Inode, parent: Inode, name: str, lifetime: float) -> None:
        """The inode is found at ``name`` in ``parent``; the kernel believes the name where it was
        before for ``lifetime`` seconds at most."""
        there = (parent, name)
        before = (inode.parent, inode.name)
        if before == there or inode.parent is None or not inode.nlookup or lifetime <= 0:
            return
        now = trio.current_time()
        left = {at: until for at, until in (inode.former_names or {}).items() if until > now}
        left[inode.parent, inode.name] = now + lifetime
        left.pop(there, None)
        inode.former_names = left or None

    async def confirm(self, inode: Inode) -> None:
        """Before an open. Raises Stale if the kernel may have come by a name that leads to another
        file now; it does not believe that name any more then."""
        moved = False
        here: Inode | None = inode
        while here is not None:
            if here.former_names and await self._has_moved(here):
                moved = True
            here = here.parent
        if moved and not self._is_estale_retry(inode.path):
            raise Stale(f"{inode.path!r} was known by a name that leads elsewhere now")

    def refused(self, path: str) -> None:
        """A caller is answered Stale at ``path``, and the kernel will look its names up anew."""
        now = trio.current_time()
        self._refused = {at: when for at, when in self._refused.items() if now - when < _RETRY}
        self._refused[path] = now

    def _is_estale_retry(self, path: str) -> bool:
        return trio.current_time() - self._refused.pop(path, -math.inf) < _RETRY

    async def _has_moved(self, inode: Inode) -> bool:
        moved = False
        for (parent, name), until in list((inode.former_names or {}).items()):
            if trio.current_time() < until and not await self._leads_to(parent, name, inode):
                await self._drop_entry(parent, name)
                moved = True
            if inode.former_names is not None:
                inode.former_names.pop((parent, name), None)
        inode.former_names = inode.former_names or None
        return moved

    async def _leads_to(self, parent: Inode, name: str, inode: Inode) -> bool:
        path = parent.path_of(name)
        if (found := self._judge.former_name(parent, name)) is not None:
            return inode.is_the_one(found.attr, path)
        try:
            return inode.is_the_one(await self._namespace.stat(path), path)
        except NotFound:
            return False
