"""Opening files so that the times in the answer are those of the file now.

As long as any handle of a file is open, Samba shows the write time that it had when the first of
them was opened, to every client and for every kind of query, and its change time is the write time
(measured on 4.17). So while a program here holds a file open, bytes changed in place on the
server's own disk leave size and times as they were, and an open answered with them would be given
old bytes. Therefore an open of a file that we have open already gives up our handles of it, one
and all, and opens it anew; all files then share the new handle.

It costs three round trips, and only where opens of one file overlap. For one of them nothing holds
the file's number, which could be given to a new file at its name; where the server makes creation
times up that would look like the old one changed. So there the file's directory is asked for
before, and if the file has changed, after it: unless that stood still, the old handles are stale.

Opens that wait for the same file meanwhile share the outcome of one that began after they were
asked. The handle of another client that stays open has the same effect, and nothing here can help
that.

A file that is opened for writing is opened anew in the same way, for writing, and those that read
it share that handle; so do opens that come later, for as long as it is written. Its times are
looked at through that handle where there is no write lease: it is the one that changes them.
"""

from __future__ import annotations

import logging
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from functools import partial

import trio

from netfsfuse.errors import NetfsError
from netfsfuse.smb.session.lease import Holder
from netfsfuse.smb.session.session import Session
from netfsfuse.smb.share.compound import stat
from netfsfuse.smb.share.file import SmbFile
from netfsfuse.smb.share.leased import LeasedHandles
from netfsfuse.smb.share.reopened import ReopenedFile
from netfsfuse.smb.share.writable import WritableSmbFile
from netfsfuse.smb.wire.create import FILE_OPEN
from netfsfuse.types import FileAttr, creation_is_derived

log = logging.getLogger(__name__)


class _OpenQueue:
    """Opens of one name, one at a time. ``latest``: the last that succeeded, begun at ``begun``."""

    __slots__ = ("begun", "latest", "lock", "waiting")

    def __init__(self) -> None:
        self.lock = trio.Lock()
        self.waiting = 0
        self.latest: SmbFile | None = None
        self.begun = 0.0


class OpenFiles(LeasedHandles):
    """The files that we have open on one share, by FileId and volume. ``trust``: seconds, 0 for no
    leases."""

    def __init__(self, session: Session, *, trust: float = 0.0) -> None:
        super().__init__(session, trust=trust)
        self._queues: dict[str, _OpenQueue] = {}
        self._writers: dict[str, WritableSmbFile] = {}

    async def open(
        self,
        name: str,
        *,
        head: int = 0,
        known: FileAttr | None = None,
        on_break: Callable[[], None] | None = None,
    ) -> SmbFile:
        """Open for reading, the first ``head`` bytes with it. Raises the server's refusal as a
        NetfsError. ``known``: what the file is believed to be; a handle that is leased as that may
        be shared. ``on_break`` hears when another client is about to change the file."""
        if (shared := self._share_leased(name, known)) is not None:
            return shared
        if (writer := self.writer(name)) is not None:
            return await self._join(writer, on_break)
        asked = trio.current_time()
        async with self._queued(name) as queue:
            if queue.latest is not None and queue.begun > asked:
                shared = queue.latest.share()
                if shared is not None:
                    return self._add(shared)
            begun = trio.current_time()
            file_id = 0 if known is None else known.file_id
            file = await SmbFile.open(self._session, name, self, head=head, file_id=file_id)
            self._add(file)
            try:
                while others := self._others(file):
                    if (writer := _writer_among(others)) is not None:
                        if not writer.may_read:
                            break  # each keeps its own
                        await file.aclose()
                        return await self._join(writer, on_break)
                    begun = trio.current_time()
                    before = await self._folder(name, file, others)
                    await file.renew(others, partial(self._stayed, name, before))
            except BaseException:
                await file.aclose()
                raise
            queue.latest, queue.begun = file, begun
            self._note_lease(file.handle, on_break)
            return file

    async def open_writing(
        self,
        name: str,
        *,
        known: FileAttr | None = None,
        holder: Holder,
        disposition: int = FILE_OPEN,
    ) -> WritableSmbFile:
        """Open for writing, the file made as ``disposition`` says. Files that are open already read
        by the same handle from then on. Raises the server's refusal as a NetfsError; Disconnected
        where the file may have been made, or not."""
        self.give_way(name)
        async with self._queued(name):
            file_id = 0 if known is None else known.file_id
            file = await WritableSmbFile.open_for(
                self._session, name, self, holder, file_id=file_id, disposition=disposition
            )
            self._add(file)
            try:
                while file.may_read and (others := self._others(file)):
                    if _writer_among(others) is not None:  # by another name of the file
                        await file.look()
                        break
                    before = await self._folder(name, file, others)
                    await file.renew(others, partial(self._stayed, name, before))
            except BaseException:
                await file.aclose()
                raise
            self._writers[name] = file
            return file

    def is_written(self, name: str) -> bool:
        """Whether a file was opened by ``name`` for writing."""
        return name in self._writers

    def writer(self, name: str) -> WritableSmbFile | None:
        """The file that was opened by ``name`` for writing, if its handle can be shared."""
        writer = self._writers.get(name)
        return writer if writer is not None and writer.may_read else None

    async def _join(self, writer: WritableSmbFile, on_break: Callable[[], None] | None) -> SmbFile:
        """Another file on the handle of ``writer``: opened by itself it would be shown times as
        they were, and be in the way of the writer's."""
        shared = writer.share()
        if on_break is not None:
            self._hooks[shared.handle] = on_break
        if not writer.is_leased:
            try:
                await shared.look()
            except BaseException:
                await shared.aclose()
                raise
        return shared

    def shared(self, file: SmbFile) -> None:
        """``file`` was opened on the handle of a writer."""
        self._add(file)

    def sharing(self, file: SmbFile) -> list[SmbFile]:
        """The other open files that are on the handle of ``file``."""
        files = self._open.get(file.disk_id, set())
        return [other for other in files if other is not file and other.handle is file.handle]

    async def _folder(self, name: str, file: SmbFile, others: set[SmbFile]) -> FileAttr | None:
        """The directory that holds ``name``, where creation times prove nothing for those of the
        ``others`` that a reader has open; None if it cannot be asked, or need not."""
        read = [other for other in others if not other.is_closed]
        if not read or not any(creation_is_derived(each.attr) for each in (file, *read)):
            return None
        try:
            return await stat(self._session, name.rpartition("\\")[0])
        except NetfsError as failed:
            log.debug("asking for the directory of %r: %s", name, failed)
            return None

    async def _stayed(self, name: str, before: FileAttr | None) -> bool:
        """Whether no name came or went beside ``name`` since its directory was as ``before``."""
        if before is None:
            return False
        try:
            now = await stat(self._session, name.rpartition("\\")[0])
        except NetfsError as failed:
            log.debug("asking for the directory of %r: %s", name, failed)
            return False
        return (now.file_id, now.write, now.change) == (before.file_id, before.write, before.change)

    def holds(self, disk_id: tuple[int, int]) -> bool:
        """Whether the file is open here, so that the server may show older times of it."""
        return bool(disk_id[0]) and disk_id in self._open

    def _others(self, file: SmbFile) -> set[SmbFile]:
        """The files with handles of their own on the same file, through which the server may have
        looked. Asked again after each look: the file may have other names, opened meanwhile.
        """
        if not file.attr.file_id:
            return set()
        return {other for other in self._open[file.disk_id] if other.has_other_handle(file)}

    @asynccontextmanager
    async def _queued(self, name: str) -> AsyncIterator[_OpenQueue]:
        queue = self._queues.setdefault(name, _OpenQueue())
        queue.waiting += 1
        try:
            async with queue.lock:
                yield queue
        finally:
            queue.waiting -= 1
            if not queue.waiting:
                del self._queues[name]

    def closed(self, file: ReopenedFile) -> None:
        """``file`` is closed, at the server as well."""
        super().closed(file)
        if self._writers.get(file.name) is file:
            del self._writers[file.name]


def _writer_among(files: set[SmbFile]) -> WritableSmbFile | None:
    """One that is open for writing."""
    return next((file for file in files if isinstance(file, WritableSmbFile)), None)
