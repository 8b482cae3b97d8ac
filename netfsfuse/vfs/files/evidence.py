"""What is known here of a file that is to be opened, before the server is asked."""

from __future__ import annotations

from netfsfuse.vfs.coherency.judge import Judge
from netfsfuse.vfs.coherency.watches import Watches
from netfsfuse.vfs.files.handle import FileHandles
from netfsfuse.vfs.inodes.inodes import Inode
from netfsfuse.vfs.prefetch.fetch import Fetch
from netfsfuse.vfs.prefetch.prefetch import Ahead
from netfsfuse.vfs.tree.names import Names


class Evidence:
    """``judge`` says what is believed of the file, ``names`` what it is called, ``watches`` whether
    the server tells of changes, ``ahead`` what was fetched of it, and ``handles`` where it is
    open."""

    def __init__(
        self,
        names: Names,
        judge: Judge,
        watches: Watches,
        ahead: Ahead,
        handles: FileHandles,
    ) -> None:
        self.names = names
        self.judge = judge
        self.handles = handles
        self._watches = watches
        self._ahead = ahead

    async def fetched(self, inode: Inode) -> Fetch | None:
        """What was fetched ahead of the open, if it is true of the file now; waits for it while it
        is on its way. The next files are fetched from here on, and the directory is watched."""
        if inode.parent is not None:
            self._watches.use(inode.parent)
        self._ahead.use_file(inode)
        return await self._ahead.take(inode)

    def is_known(self, inode: Inode) -> bool:
        """Whether it was opened before as what it is, and nothing can have changed since."""
        judge = self.judge
        return judge.opens(inode) and judge.was_opened(inode.number, inode.attr, inode.place)

    def is_open(self, inode: Inode) -> bool:
        """Whether a program has the file open here."""
        return self.handles.is_open(inode)
