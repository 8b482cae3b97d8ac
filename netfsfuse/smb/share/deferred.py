"""A file that is opened on the server when it is read, or when it is to be held: vfs's OpenFile.

Such a file costs the server no handle, and us no message when it is closed.

Without a handle nothing keeps the server from giving the number of a deleted file to a new one. So
the file that is found at the path is taken for this one only if it has not changed since, or was
made at the same time: else this one is *lost*, and Stale for good. Once it is open on the server it
goes on as what it is, whatever becomes of it.
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


class DeferredFile:
    """The file ``name``, a server's path, known to be ``attr``. ``opened`` is told what the server
    found if it has changed."""

    def __init__(
        self,
        files: OpenFiles,
        name: str,
        attr: FileAttr,
        opened: Callable[[FileAttr], None],
    ) -> None:
        self.attr = attr
        self._files = files
        self._name = name
        self._opened = opened
        self._file: SmbFile | None = None
        self._lost = False
        self._closed = False
        self._opening = trio.Lock()

    @property
    def asked(self) -> float:
        """Keeps the contract of ``OpenFile.asked``: it was not."""
        return -math.inf

    is_followed = False

    @property
    def is_held(self) -> bool:
        """Keeps the contract of ``OpenFile.is_held``."""
        return self._file is not None

    @property
    def closes_at_once(self) -> bool:
        """Keeps the contract of ``OpenFile.closes_at_once``."""
        return self._file is None or self._file.closes_at_once

    async def read(
        self, start: int, length: int, buffer: Buffer, at: int, *, demand: Demand
    ) -> int:
        """Keeps the contract of ``ServerFile.read``."""
        file = self._file or await self._open()
        return await file.read(start, length, buffer, at, demand=demand)

    async def hold(self) -> None:
        """Keeps the contract of ``OpenFile.hold``."""
        if self._file is None:
            await self._open()

    async def query(self) -> FileAttr:
        """Keeps the contract of ``OpenFile.query``."""
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
            self._opened(now)
        self.attr = now

    async def aclose(self) -> None:
        """Keeps the contract of ``OpenFile.aclose``. A task that is opening it closes what it
        gets."""
        self._closed = True
        file, self._file = self._file, None
        if file is not None:
            await file.aclose()
