"""A file that is opened on the server when somebody reads what is not at hand, or when it is to be
held: vfs's OpenFile.

Its beginning may be at hand, from what was fetched ahead or stored. Such a file costs the server no
handle, and us no message when it is closed.

Without a handle nothing keeps the server from giving the number of a deleted file to a new one. So
the file that is found at the path is taken for this one only if it has not changed since, or was
made at the same time: else this one is *lost*. What is at hand of it can be read on; the rest is
Stale for good. Once it is open on the server it goes on as what it is, whatever becomes of it.
"""

from __future__ import annotations

import math
from collections.abc import Callable

import trio

from netfsfuse.errors import IsADirectory, NotADirectory, NotFound, Stale
from netfsfuse.netfs.demand import Demand
from netfsfuse.netfs.memory.buffer import Buffer
from netfsfuse.smb.share.file import SmbFile
from netfsfuse.smb.share.openfiles import OpenFiles
from netfsfuse.types import FileAttr, coherency_of, same_content


class LaterFile:
    """See the module, and ``Namespace.open_later``. ``name`` is the server's path."""

    def __init__(
        self,
        files: OpenFiles,
        name: str,
        attr: FileAttr,
        head: memoryview | None,
        opened: Callable[[FileAttr], None],
    ) -> None:
        self.attr = attr
        self._files = files
        self._name = name
        self._head = head
        self._opened = opened
        self._file: SmbFile | None = None
        self._lost = False
        self._closed = False
        self._opening = trio.Lock()

    @property
    def asked(self) -> float:
        """See ``OpenFile.asked``: it was not."""
        return -math.inf

    is_followed = False

    @property
    def is_held(self) -> bool:
        """See ``OpenFile.is_held``."""
        return self._file is not None

    @property
    def closes_at_once(self) -> bool:
        """See ``OpenFile.closes_at_once``."""
        return self._file is None or self._file.closes_at_once

    async def read(
        self, start: int, length: int, buffer: Buffer, at: int, *, demand: Demand
    ) -> int:
        """See ``ServerFile.read``. One copy where the bytes are at hand."""
        head = self._head
        if head is not None and start + length <= len(head):
            buffer.payload[at : at + length] = head[start : start + length]
            return length
        file = self._file or await self._open()
        return await file.read(start, length, buffer, at, demand=demand)

    @property
    def whole(self) -> memoryview | None:
        """See ``OpenFile.whole``."""
        head = self._head
        return head if head is not None and len(head) == self.attr.size else None

    def take_head(self, head: memoryview) -> None:
        """See ``OpenFile.take_head``."""
        self._head = head

    def drop_head(self) -> None:
        """See ``OpenFile.drop_head``. A lost file cannot be asked, and has not changed."""
        if not self._lost:
            self._head = None

    async def hold(self) -> None:
        """See ``OpenFile.hold``."""
        if self._file is None:
            await self._open()

    async def query(self) -> FileAttr:
        """See ``OpenFile.query``."""
        asked = trio.current_time()
        file = self._file or await self._open()
        return file.attr if file.asked >= asked else await file.query()

    async def _open(self) -> SmbFile:
        async with self._opening:
            self._check_usable()
            if self._file is None:
                try:
                    file = await self._files.open(self._name, known=self.attr)
                except (NotFound, IsADirectory, NotADirectory) as gone:
                    self._lost = True
                    raise Stale(f"{self._name!r} is gone") from gone
                try:
                    self._check(file.attr)
                    self._check_usable()
                except BaseException:
                    await file.aclose()
                    raise
                self._file = file
            return self._file

    def _check_usable(self) -> None:
        if self._closed:  # also while it was being opened
            raise Stale(f"{self._name!r} is closed")
        if self._lost:
            raise Stale(f"{self._name!r} is another file now, or gone")

    def _check(self, now: FileAttr) -> None:
        """Whether ``now`` is this file, changed or not, for certain."""
        before = self.attr
        unchanged = same_content(coherency_of(before), now)
        if not unchanged and (
            now.file_id != before.file_id
            or now.creation != before.creation
            or now.is_directory != before.is_directory
        ):
            self._lost = True
            return
        if not unchanged:
            self._head = None
            self._opened(now)
        self.attr = now

    async def aclose(self) -> None:
        """See ``OpenFile.aclose``. Whoever is opening it closes what he gets."""
        self._closed = True
        self._head = None
        file, self._file = self._file, None
        if file is not None:
            await file.aclose()
