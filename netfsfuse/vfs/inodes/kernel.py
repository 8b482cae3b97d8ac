"""What the file system tells the kernel of its own accord; ``fuse/notifier.py`` fits it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

from netfsfuse.types import Change
from netfsfuse.vfs.inodes.inodes import Inode


class Kernel(Protocol):
    """What is told to the kernel of its own accord."""

    def changed(self, directory: Inode, changes: Sequence[Change]) -> None:
        """Other clients, or the server's own users, have changed something in a directory; no
        changes mean that anything may have changed. Never waits."""
        ...

    def own_change(self, directory: Inode, name: str) -> None:
        """A call of the kernel has made ``name`` in a directory, or removed it. Never waits."""
        ...

    async def drop_entry(self, directory: Inode, name: str) -> None:
        """Returns when the kernel has dropped a name, or may be waited for no longer."""
        ...
