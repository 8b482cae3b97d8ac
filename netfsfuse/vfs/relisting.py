"""Directories in which anything may have changed: a listing in place of one question for each file.

After "too many changes to tell" the kernel asks for the attributes of every file that it is asked
for, one after another. From the ``FROM``-th on the directory is listed anew, and the others are
answered from that.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable

import trio

from netfsfuse.vfs.folder import Known, find
from netfsfuse.vfs.inodes import Inode

FROM = 8
"""Files asked for: a listing of 20,000 names is no answer to one ``stat``."""

_DIRECTORIES_MAX = 64


class Relisting:
    """See the module. ``relist`` lists a directory and keeps that; it raises nothing."""

    def __init__(self, relist: Callable[[Inode], Awaitable[None]]) -> None:
        self._relist = relist
        self._asked_for: dict[Inode, int] = {}

    async def newer(self, inode: Inode, lifetime: float) -> Known | None:
        """What is believed of the inode by a listing that was begun since it was asked for."""
        parent = inode.parent
        if parent is None or parent.folder is None or parent.watched is None:
            return None
        if parent.watched.lives and parent.watched.all_changed(parent.folder.asked):
            if not self._is_worth_it(parent):
                return None
            await self._relist(parent)
        folder = parent.folder
        if folder is None or folder.asked <= inode.known_at:
            return None
        found = find(folder, parent.watched, inode.name, trio.current_time(), lifetime)
        return found if isinstance(found, Known) else None

    def _is_worth_it(self, directory: Inode) -> bool:
        count = self._asked_for.pop(directory, 0) + 1
        if count >= FROM:
            return True
        self._asked_for[directory] = count
        if len(self._asked_for) > _DIRECTORIES_MAX:
            del self._asked_for[next(iter(self._asked_for))]
        return False
