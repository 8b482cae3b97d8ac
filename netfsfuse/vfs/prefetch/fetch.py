"""One file that is fetched before it is opened."""

from __future__ import annotations

import trio

from netfsfuse.types import FileAttr
from netfsfuse.vfs.inodes.inodes import Inode


class Fetch:
    """One file on its way, or here. ``attr`` is what it is believed to be, as of ``asked``;
    ``checked``: the server has opened it as that. ``head`` is its beginning, all of it where it is
    small; ``stored``: that came from the disk cache. ``forgotten``: it was changed here."""

    __slots__ = (
        "asked",
        "attr",
        "checked",
        "directory",
        "done",
        "forgotten",
        "head",
        "name",
        "stored",
        "waited",
    )

    def __init__(self, directory: Inode, name: str, attr: FileAttr, asked: float) -> None:
        self.directory = directory
        self.name = name
        self.attr = attr
        self.asked = asked
        self.checked = False
        self.stored = False
        self.head: memoryview | None = None
        self.done = trio.Event()
        self.waited = False
        self.forgotten = False

    @property
    def path(self) -> str:
        """Below the root of the mount."""
        return self.directory.path_of(self.name)
