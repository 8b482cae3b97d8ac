"""The interface that vfs calls to reach the server's names. vfs owns it; ``smb`` fits it.

Paths are local: components joined by "/", "" for the root of the mount. All calls raise
``NetfsError`` subclasses and may be cancelled at any time.
"""

from __future__ import annotations

from typing import Protocol

from netfsfuse.netfs.ops import ServerFile
from netfsfuse.types import DirEntry, FileAttr, VolumeStat


class OpenFile(ServerFile, Protocol):
    """An open file as the server described it when it was opened."""

    attr: FileAttr

    async def query(self) -> FileAttr:
        """What the handle's file is like now, whatever its path names."""
        ...

    async def aclose(self) -> None:
        """Give the handle back. Never raises; bounded in time, shielded from cancellation."""
        ...


class Listing(Protocol):
    """An open directory."""

    async def next_page(self) -> list[DirEntry]:
        """Some more entries, [] at the end. Names are local ones; no "." and ".."."""
        ...

    async def aclose(self) -> None:
        """Give the handle back. Never raises; bounded in time, shielded from cancellation."""
        ...


class Namespace(Protocol):
    """The names below the mounted folder."""

    def decode_name(self, raw: bytes) -> str:
        """A name from the kernel as a path component. Raises InvalidName."""
        ...

    async def stat(self, path: str) -> FileAttr:
        """Attributes of what is at ``path`` itself, a link not followed."""
        ...

    async def read_link(self, path: str, attr: FileAttr) -> str | None:
        """Target of a symlink, None when ``path`` turns out to be none."""
        ...

    def may_be_link(self, attr: FileAttr) -> bool:
        """Whether ``read_link`` is worth asking; a guess from the attributes alone."""
        ...

    async def open(self, path: str) -> OpenFile:
        """Open a file for reading."""
        ...

    async def list(self, path: str) -> Listing:
        """Open a directory; its first page is on its way or here already."""
        ...

    async def stat_volume(self) -> VolumeStat:
        """Space on the server's volume."""
        ...
