"""Opening files so that the times in the answer are those of the file now.

As long as any handle of a file is open, Samba shows the write time that it had when the first of
them was opened, to everybody and for every kind of query, and its change time is the write time
(measured on 4.17). So while a program here holds a file open, bytes changed in place on the
server's own disk leave size and times as they were, and an open answered with them would be given
old bytes. Therefore an open of a file that we have open already gives up our handles of it, one
and all, and opens it anew; all files then share the new handle.

It costs three round trips, and only where opens of one file overlap. Opens that wait for the same
file meanwhile share the outcome of one that began after they were asked. The handle of another
client that stays open has the same effect, and nothing here can help that.
"""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import trio

from netfsfuse.smb.file import SmbFile
from netfsfuse.smb.session import Session


class _Turn:
    """Opens of one name, one at a time. ``latest``: the last that succeeded, begun at ``begun``."""

    __slots__ = ("begun", "latest", "lock", "waiting")

    def __init__(self) -> None:
        self.lock = trio.Lock()
        self.waiting = 0
        self.latest: SmbFile | None = None
        self.begun = 0.0


class OpenFiles:
    """The files that we have open on one share, by FileId and volume."""

    def __init__(self, session: Session) -> None:
        self._session = session
        self._open: dict[tuple[int, int], set[SmbFile]] = {}
        self._turns: dict[str, _Turn] = {}

    async def open(self, name: str) -> SmbFile:
        """Open for reading. Raises the server's refusal as a NetfsError."""
        asked = trio.current_time()
        async with self._turn(name) as turn:
            if turn.latest is not None and turn.begun > asked:
                shared = turn.latest.share()
                if shared is not None:
                    return self._add(shared)
            begun = trio.current_time()
            file = await SmbFile.open(self._session, name, self._remove)
            self._add(file)
            try:
                while others := self._others(file):
                    begun = trio.current_time()
                    await file.renew(others)
            except BaseException:
                await file.aclose()
                raise
            turn.latest, turn.begun = file, begun
            return file

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
    async def _turn(self, name: str) -> AsyncIterator[_Turn]:
        turn = self._turns.setdefault(name, _Turn())
        turn.waiting += 1
        try:
            async with turn.lock:
                yield turn
        finally:
            turn.waiting -= 1
            if not turn.waiting:
                del self._turns[name]

    def _add(self, file: SmbFile) -> SmbFile:
        self._open.setdefault(file.disk_id, set()).add(file)
        return file

    def _remove(self, file: SmbFile) -> None:
        files = self._open.get(file.disk_id, set())
        files.discard(file)
        if not files:
            self._open.pop(file.disk_id, None)
