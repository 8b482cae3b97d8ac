"""Directories in which much has changed: a listing in place of one question for each file.

After many changes, or "too many to tell", the kernel asks for the attributes of every file that it
is asked for, one after another. From the ``FROM``-th on the directory is listed anew, if that pays,
and the others are answered from that.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable

from netfsfuse.vfs.coherency.judge import Judge
from netfsfuse.vfs.coherency.listed_names import Known
from netfsfuse.vfs.coherency.reason import Reason
from netfsfuse.vfs.inodes.inodes import Inode

FROM = 8
"""Files asked for: a listing of 20,000 names is no answer to one ``stat``."""

MANY = 32
"""Changed names, and one in ``EACH`` that are listed: then a listing is less than the questions."""

EACH = 16
_DIRECTORIES_MAX = 64


class Relisting:
    """Decides when listing anew pays. ``relist`` lists a directory and keeps that; it raises
    nothing."""

    def __init__(self, relist: Callable[[Inode], Awaitable[None]], judge: Judge) -> None:
        self._relist = relist
        self._judge = judge
        self._asked_for: dict[Inode, int] = {}

    async def newer(self, inode: Inode) -> Known | None:
        """What is believed of the inode by a listing that was begun since it was asked for."""
        found, why = self._judge.relisted(inode)
        parent = inode.parent
        if why is not Reason.CHANGED or parent is None or not self._is_worth_it(parent):
            return found
        await self._relist(parent)
        return self._judge.relisted(inode)[0]

    def _is_worth_it(self, directory: Inode) -> bool:
        folder, watched = directory.folder, directory.watched
        if folder is None or watched is None:
            return False
        count = self._asked_for.pop(directory, 0) + 1
        if count >= FROM and watched.lives:
            changed = watched.changed_names(folder.asked)
            if watched.all_changed(folder.asked) or changed >= max(MANY, len(folder.attrs) // EACH):
                return True
        self._asked_for[directory] = count % FROM
        if len(self._asked_for) > _DIRECTORIES_MAX:
            del self._asked_for[next(iter(self._asked_for))]
        return False
