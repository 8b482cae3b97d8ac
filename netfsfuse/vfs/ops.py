"""The interface that vfs calls to reach the server's names. vfs owns it; ``smb`` fits it.

Paths are local: components joined by "/", "" for the root of the mount. All calls raise
``NetfsError`` subclasses and may be cancelled at any time.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import AbstractAsyncContextManager
from typing import Protocol

from netfsfuse.netfs.ops import ServerFile, WritableFile
from netfsfuse.types import (
    CACHE_BLOCK,
    Change,
    DirEntry,
    FileAttr,
    Reach,
    ServerTime,
    VolumeStat,
)

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


class LeaseHolder(Protocol):
    """What depends on the lease of a file that is written here."""

    async def give_back(self, *, keeps_reads: bool) -> None:
        """Another client wants the file. Returns when what was written here is on the server, or
        has failed; from the moment of the call every write goes through. Without ``keeps_reads``
        what was read is forgotten as well. The server is answered when this has returned or raised,
        or after a time."""
        ...


class WritableOpenFile(OpenFile, WritableFile, Protocol):
    """A file that is open for writing, and for reading where ``may_read``. All users of the mount
    that write to the file share one."""

    @property
    def may_read(self) -> bool:
        """Whether the server lets this user read it, too."""
        ...

    @property
    def is_leased(self) -> bool:
        """Whether no other SMB client reads or writes it before ``LeaseHolder.give_back`` was
        called: what is written may wait here."""
        ...

    def share(self) -> OpenFile:
        """Another user of the same handle, for reading only; costs no message, and is closed by its
        own ``aclose``. Where ``may_read``."""
        ...

    async def set_times(self, *, access: int | None, write: int | None) -> None:
        """Set times (nanoseconds since 1970), None for what shall stay. What is written later, or
        was and is not yet there, does not move a write time that was set. Raises a NetfsError."""
        ...

    def appending(self) -> AbstractAsyncContextManager[int]:
        """While it is entered no other mount that appends to the file does; gives the file's size,
        as it is then. What is written at that place, and has been answered before it is left, is
        appended, and nothing is overwritten. For a file that is not leased; others wait meanwhile,
        and an end to the waiting is DeadlineExceeded. Raises a NetfsError."""
        ...

    async def finish(self) -> FileAttr | None:
        """Close it: the attributes that it has after all that was done through it, None where the
        server did not tell. Never raises; bounded in time, shielded from cancellation."""
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


class Reachability(Protocol):
    """Whether the server can be asked. What it alone can answer is asked as ever: the call waits
    for as long as it may, and raises HostDown, or Barred, at once where it may not."""

    @property
    def reach(self) -> Reach:
        """While it is not UP, what is remembered is the answer."""
        ...

    @property
    def since(self) -> float:
        """When the outage began (trio clock): the connection was lost, or a question met silence;
        inf while it is UP."""
        ...

    def waits_until(self) -> float:
        """Until when (trio clock) a question that the server alone can answer waits for it. inf
        while it is UP, and where the mount waits for ever; a time that is over: it fails at
        once."""
        ...

    def is_heard(self) -> bool:
        """Whether what the server would have told by itself, through watches and leases, has been
        told: not while it is not UP, nor when the machine has slept or the network changed and it
        has not spoken since, nor after long silence. To be asked at each use of such trust: where
        the server was silent for a while it has that looked into. Waits for nothing."""
        ...

    def progress(self) -> object:
        """Another value each time that something has come from the server, or was taken by it, but
        for its signs of life and of being at work."""
        ...

    async def wait_not_up(self) -> None:
        """Return once ``reach`` is not UP; at once if it is not."""
        ...

    def on_doubt(self, doubt: Callable[[], None]) -> None:
        """Have ``doubt`` called, which waits for nothing, whenever all that watches and leases have
        vouched for so far may have changed unannounced: the connection was lost, the machine has
        slept, the network has changed."""
        ...


class Namespace(Protocol):
    """The names below the mounted folder."""

    @property
    def reachability(self) -> Reachability:
        """Of the server that has them."""
        ...

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


class MutableNamespace(Namespace, Protocol):
    """The names below the mounted folder, and the calls that change them. A call that raises
    ``Disconnected`` may have been done, or not, where looking could not tell either."""

    async def make_directory(self, path: str) -> FileAttr:
        """A new directory; its attributes."""
        ...

    async def remove(self, path: str, *, directory: bool, known: FileAttr | None = None) -> None:
        """Remove a name, ``known`` as that: of an empty directory, or of anything else."""
        ...

    async def rename(
        self, path: str, to: str, *, replace: bool, known: FileAttr | None = None
    ) -> FileAttr:
        """Give what is at ``path``, ``known`` as that, the name ``to``; what that names goes, if it
        may be replaced. Returns its attributes, as they are after that."""
        ...

    async def set_attributes(
        self,
        path: str,
        *,
        size: int | None = None,
        access: int | None = None,
        write: int | None = None,
        read_only: bool | None = None,
    ) -> FileAttr:
        """Set size (bytes), times (nanoseconds since 1970) or the read-only mark of what is at
        ``path``, None for what shall stay; what it is like afterwards."""
        ...


class WritableNamespace(MutableNamespace, Protocol):
    """The same, and the calls that open files for writing."""

    async def open_writing(
        self, path: str, *, known: FileAttr | None = None, holder: LeaseHolder
    ) -> WritableOpenFile:
        """Open a file that exists, for writing and, where the user may, for reading. ``known``:
        what it is believed to be, so that a lease of ours on it is joined and not broken. Its
        ``attr`` are those of the file now."""
        ...

    async def create(
        self, path: str, *, exclusive: bool, holder: LeaseHolder
    ) -> tuple[WritableOpenFile, bool]:
        """As :meth:`open_writing`, where the file is made if there is none; and whether it was. If
        ``exclusive`` and there is one: AlreadyExists."""
        ...
