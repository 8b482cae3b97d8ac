"""A file that is opened on the server when somebody reads what is not at hand: vfs's OpenFile.

Its beginning may be at hand, from the compound that opened, read and closed it. Such a file costs
the server no handle, and us no message when it is closed.
"""

from __future__ import annotations

import math
from collections.abc import Callable

import trio

from netfsfuse.errors import Stale
from netfsfuse.netfs.buffer import Buffer
from netfsfuse.netfs.demand import Demand
from netfsfuse.smb.file import SmbFile
from netfsfuse.smb.openfiles import OpenFiles
from netfsfuse.types import FileAttr, coherency_of, creation_is_derived, same_content


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
        self._closed = False
        self._opening = trio.Lock()

    @property
    def asked(self) -> float:
        """See ``OpenFile.asked``: it was not."""
        return -math.inf

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

    def drop_head(self) -> None:
        """See ``OpenFile.drop_head``."""
        self._head = None

    async def query(self) -> FileAttr:
        """See ``OpenFile.query``."""
        file = self._file or await self._open()
        return await file.query()

    async def _open(self) -> SmbFile:
        async with self._opening:
            if self._closed:
                raise Stale(f"{self._name!r} is closed")
            if self._file is None:
                file = await self._files.open(self._name, known=self.attr)
                try:
                    self._check(file.attr)
                except BaseException:
                    await file.aclose()
                    raise
                self._file = file
            return self._file

    def _check(self, now: FileAttr) -> None:
        """Whether ``now`` is this file, changed or not, as far as can be told without a handle."""
        before = self.attr
        if not same_content(coherency_of(before), now):
            self._head = None
            self._opened(now)
        if now.file_id != before.file_id or not (
            now.creation == before.creation
            or same_content(coherency_of(before), now)
            or creation_is_derived(before)  # made up: it proves nothing
        ):
            raise Stale(f"{self._name!r} is another file now")
        self.attr = now

    async def aclose(self) -> None:
        """See ``OpenFile.aclose``."""
        self._closed = True
        self._head = None
        async with self._opening:
            if self._file is not None:
                await self._file.aclose()
