"""The interface that vfs calls to reach the server's names. vfs owns it; ``smb`` fits it.

Paths are local: components joined by "/", "" for the root of the mount. All calls raise
``NetfsError`` subclasses and may be cancelled at any time.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Protocol

from netfsfuse.netfs.ops import ServerFile
from netfsfuse.types import CACHE_BLOCK, Change, DirEntry, FileAttr, ServerTime, VolumeStat

SMALL = CACHE_BLOCK
"""Bytes of a small file, which comes whole with the answer to its open. One credit."""


class OpenFile(ServerFile, Protocol):
    """An open file as the server described it when it was opened."""

    attr: FileAttr

    @property
    def asked(self) -> float:
        """When the server was asked for ``attr`` (trio clock)."""
        ...

    @property
    def is_followed(self) -> bool:
        """Whether its path leads through a link that the server followed by itself, so that what
        changes it is told elsewhere."""
        ...

    @property
    def is_held(self) -> bool:
        """Whether it is open on the server, so that its number can be no other file's."""
        ...

    @property
    def closes_at_once(self) -> bool:
        """Whether ``aclose`` waits for nothing, as where nothing was read."""
        ...

    async def hold(self) -> None:
        """Open it on the server if it is not. Raises as ``query`` does."""
        ...

    async def query(self) -> FileAttr:
        """What the file is like now, whatever its path names. Raises Stale where the server has no
        handle of it, and the path leads to what may be another file."""
        ...

    async def aclose(self) -> None:
        """Give the handle back. Never raises; bounded in time, shielded from cancellation."""
        ...


class Listing(Protocol):
    """An open directory. ``asked``: when the page given last was asked for (trio clock). ``own``:
    the directory's own attributes, if they were among its entries. ``is_followed``: see
    ``OpenFile``."""

    asked: float
    own: FileAttr | None
    is_followed: bool

    async def next_page(self) -> list[DirEntry]:
        """Some more entries, [] at the end. Names are local ones; no "." and ".."."""
        ...

    async def aclose(self) -> None:
        """Give the handle back. Never raises; bounded in time, shielded from cancellation."""
        ...


class Watch(Protocol):
    """A directory of which the server tells what changes in it."""

    async def begun(self) -> None:
        """Wait until the server tells. Raises its refusal of the directory."""
        ...

    async def changes(self) -> Sequence[Change]:
        """Wait for some; none means that anything may have changed. Raises when it is over."""
        ...

    def close(self) -> None:
        """End it. Idempotent, never raises, waits for nothing."""
        ...


class Namespace(Protocol):
    """The names below the mounted folder."""

    def decode_name(self, raw: bytes) -> str:
        """A name from the kernel as a path component. Raises InvalidName."""
        ...

    def is_surely_listed(self, name: str) -> bool:
        """Whether a file that is found by ``name`` is listed, and told of, by that name, but for
        case. Else it may be there though no listing shows it."""
        ...

    def server_time(self) -> ServerTime:
        """The server's clock, now, as far as it has told it."""
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

    @property
    def leasing(self) -> bool:
        """Whether files are opened under leases, so that opens which follow may cost nothing."""
        ...

    async def open(
        self,
        path: str,
        *,
        prefill: int = 0,
        known: FileAttr | None = None,
        on_break: Callable[[], None] | None = None,
    ) -> tuple[OpenFile, memoryview | None]:
        """Open a file for reading, and read its first ``prefill`` bytes (at most ``SMALL``) in the
        same round trip; returns the bytes as well if they are all of the file as its ``attr``
        describes it. Where it is open under a lease, as what is ``known`` of it, it costs no
        message, and bytes that came with that open may be returned. ``on_break`` hears when another
        client is about to change it."""
        ...

    def open_deferred(
        self, path: str, attr: FileAttr, opened: Callable[[FileAttr], None]
    ) -> OpenFile:
        """A file that is known to be ``attr``; no message is sent before it is read or held. Then
        ``opened`` is told what the server found if it has changed, and where that may be another
        file every read is Stale."""
        ...

    async def fetch(self, path: str, size: int) -> tuple[FileAttr, memoryview] | None:
        """Open a file, read its first ``size`` bytes (at most ``SMALL``, 0 for none) and close it,
        in one round trip. None where that does not say what the file is like now, or no watch
        would say that it has changed since."""
        ...

    def watch(self, path: str, *, tree: bool = False) -> Watch | None:
        """Ask, before anything that is asked later, to be told of changes in a directory, with
        ``tree`` also of those in all directories below. None where that is not to be had now."""
        ...

    async def list(self, path: str) -> Listing:
        """Open a directory; its first page is on its way or here already."""
        ...

    async def stat_volume(self) -> VolumeStat:
        """Space on the server's volume."""
        ...
