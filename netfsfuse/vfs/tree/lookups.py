"""Look-ups: from a name in a directory to an inode, by what is listed, by the server, or, while
that cannot be asked, by what is remembered. Raises ``NetfsError`` only.

Remembered is what a kept listing holds, whatever was told of it since, and what the kernel knows
by that name. That a name is not there is not: a program may act on it.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

import trio

from netfsfuse.errors import NotFound
from netfsfuse.vfs.coherency.judge import Judge
from netfsfuse.vfs.coherency.listed_names import Known, Missing
from netfsfuse.vfs.coherency.stand_in import StandIn
from netfsfuse.vfs.inodes.inodes import Inode, InodeTable
from netfsfuse.vfs.ops import Namespace
from netfsfuse.vfs.tree.names import Names

_STEP = 2000
"""Inodes looked at in one step of the loop: 1 ms."""


class Lookups:
    """Looks names up; ``names`` binds what is found to inodes. ``is_gone(directory, name, asked)``:
    whether the name was removed here since it was ``asked`` for."""

    def __init__(
        self,
        namespace: Namespace,
        inodes: InodeTable,
        judge: Judge,
        names: Names,
        stand_in: StandIn,
        is_gone: Callable[[Inode, str, float], bool],
    ) -> None:
        self._namespace = namespace
        self._inodes = inodes
        self._judge = judge
        self._names = names
        self._stand_in = stand_in
        self._is_gone = is_gone

    async def lookup(self, parent: int, raw_name: bytes) -> Inode:
        """The inode a name leads to. The caller counts the look-up once the kernel is told.

        Raises NotFound for a name that is not there.
        """
        directory = self._inodes.get(parent)
        name = self._namespace.decode_name(raw_name)
        asked = trio.current_time()
        found = self._judge.name(directory, name, asked)
        if isinstance(found, Missing) and self._namespace.is_surely_listed(name):
            raise NotFound(directory.path_of(name))
        if isinstance(found, Known):
            known = self._names.known_by(directory, name, found.attr)
            if known is not None and self._judge.attributes(known) > 0:
                return known
            if self._judge.described(found, known, asked):
                return await self._names.bind(directory, name, found.attr, found.asked)
        return await self._stand_in.ask(
            partial(self._ask, directory, name), partial(self._remembered, directory, name)
        )

    async def _ask(self, directory: Inode, name: str) -> Inode:
        asked = trio.current_time()
        attr = await self._namespace.stat(directory.path_of(name))
        return await self._names.bind(directory, name, attr, asked)

    async def _remembered(self, directory: Inode, name: str) -> Inode | None:
        folder = directory.folder
        attr = None if folder is None else folder.attrs.get(name)
        if folder is None or attr is None or folder.is_doubted(name):
            return await self._used_before(directory, name)
        known = self._names.known_by(directory, name, attr)
        if known is not None:
            return known
        return self._names.bind_at_once(directory, name, attr, folder.asked)

    async def _used_before(self, directory: Inode, name: str) -> Inode | None:
        """What the kernel knows by the name. All inodes are looked through, which is done nowhere
        else: a table of their names would cost each of them 100 bytes, in every mount."""
        for step in self._inodes.numbers(_STEP):
            for number in step:
                if self._inodes.parent_of(number) is not directory:
                    continue
                if self._inodes.name_of(number) == name:
                    inode = self._inodes.find(number)
                    if inode is None or inode.astray:
                        return None
                    return None if self._is_gone(directory, name, inode.known_at) else inode
            await trio.lowlevel.checkpoint()
        return None
