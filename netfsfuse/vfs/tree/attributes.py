"""The attributes of an inode, asked for when they are not believed. Raises ``NetfsError`` only.

What the path leads to is asked of the server, or, where much has changed, of a new listing
(``relisting``). A file that is open goes on as what it was, whatever its path leads to: then its
handles are asked.
"""

from __future__ import annotations

import logging
from collections.abc import Awaitable, Callable, Iterable
from functools import partial

import trio

from netfsfuse.errors import (
    AccessDenied,
    Locked,
    NotADirectory,
    NotFound,
    Stale,
)
from netfsfuse.types import FileAttr
from netfsfuse.vfs.coherency.judge import Judge
from netfsfuse.vfs.coherency.stand_in import StandIn
from netfsfuse.vfs.inodes.inodes import Inode, InodeTable
from netfsfuse.vfs.ops import Namespace, OpenFile
from netfsfuse.vfs.tree.names import Names
from netfsfuse.vfs.tree.relisting import Relisting

log = logging.getLogger(__name__)

ROOT_TIMEOUT = 2.0
"""Seconds that ``stat`` of the root and ``df`` wait for the server before they show what was."""

ROOT_RETRY = 5.0
"""Seconds after which a silent server is asked for the root again."""


class Attributes:
    """``names`` takes in what is learned. ``open_files``: the files that are open by an inode, to
    ask them. ``relist`` lists a directory and keeps that; it raises nothing."""

    def __init__(
        self,
        namespace: Namespace,
        inodes: InodeTable,
        judge: Judge,
        names: Names,
        open_files: Callable[[Inode], Iterable[OpenFile]],
        relist: Callable[[Inode], Awaitable[None]],
        stand_in: StandIn,
    ) -> None:
        self._namespace = namespace
        self._inodes = inodes
        self._judge = judge
        self._names = names
        self._open_files = open_files
        self._relisting = Relisting(relist, judge)
        self._stand_in = stand_in

    async def getattr(self, number: int) -> Inode:
        """The inode with attributes that are believed; as it was while the server cannot be
        asked."""
        inode = self._inodes.get(number)
        if inode.is_ruled:
            if inode.written is not None:
                inode.written.shown()
            return inode
        if self._judge.attributes(inode) > 0:
            return inode

        async def as_it_was() -> Inode:
            return inode

        if inode is not self._inodes.root:
            return await self._stand_in.ask(partial(self._ask, inode), as_it_was)
        # Every desktop and every df stats mount points: a slow server must not hang it either.
        begun = trio.current_time()
        await self._stand_in.ask(partial(self._ask_root, inode), as_it_was, limit=ROOT_TIMEOUT)
        if inode.known_at < begun <= trio.current_time() - ROOT_TIMEOUT:
            # One path look-up asks several times, and would wait each time.
            inode.attr_until = trio.current_time() + ROOT_RETRY
        return inode

    async def _ask_root(self, root: Inode) -> Inode:
        asked = trio.current_time()
        self._names.learn(root, await self._namespace.stat(""), asked)
        return root

    async def _ask(self, inode: Inode) -> Inode:
        if inode.astray and await self._ask_open_files(inode):
            return inode
        try:
            listed = await self._relisting.newer(inode)
            if listed is not None:
                await self._names.accept(inode, listed.attr, listed.asked)
            else:
                asked = trio.current_time()
                await self._names.accept(inode, await self._namespace.stat(inode.path), asked)
        except (NotFound, NotADirectory, AccessDenied, Stale) as elsewhere:
            if not await self._ask_open_files(inode):
                if isinstance(elsewhere, NotFound):
                    raise Stale(f"{inode.path!r} is gone") from elsewhere
                raise
            inode.astray = True
        return inode

    async def _ask_open_files(self, inode: Inode) -> bool:
        """Learn from the files that are open by the inode what it is like now, whatever its path
        leads to; False if there are none. One that no handle holds is what it was opened as."""
        asked = trio.current_time()
        unheld: FileAttr | None = None
        for file in self._open_files(inode):
            try:
                self._names.learn(inode, await file.query(), asked)
            except (Stale, AccessDenied, Locked) as gone:
                log.debug("asking an open handle: %s", gone)
                unheld = unheld if file.is_held else file.attr
            else:
                return True
        if unheld is not None:
            self._names.learn(inode, unheld, asked)
        return unheld is not None
