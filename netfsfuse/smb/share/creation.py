"""Making a file though the answer may be lost.

A CREATE that was sent and not answered may have made the file, and a blind repetition would find
its own success as a collision. So the second attempt takes what is there as well: where that is
empty, and was made since the first was sent, it is the file that we have made.

A name that was removed is not free before the last handle of the file is closed, whosever it is,
and Samba 4.17 breaks no lease for a removal: the handle that another mount keeps for a next open
stands in the way for a second. A program that removes a file and makes it anew is to see neither
the old one nor ENOENT, so that is waited for.
"""

from __future__ import annotations

import logging

import trio

from netfsfuse.errors import AlreadyExists, BeingRemoved, Disconnected, ProtocolError
from netfsfuse.smb.session.lease import Holder
from netfsfuse.smb.session.session import Session
from netfsfuse.smb.share.lost_answers import is_new
from netfsfuse.smb.share.openfiles import OpenFiles
from netfsfuse.smb.share.writable import WritableSmbFile
from netfsfuse.smb.wire.create import FILE_CREATE, FILE_OPEN_IF

log = logging.getLogger(__name__)

REMOVED_SECONDS = 2.0
"""Longer than a mount keeps a handle that no program has."""
_FIRST_PAUSE, _LONGEST_PAUSE = 0.005, 0.1


async def create(
    session: Session, files: OpenFiles, name: str, *, exclusive: bool, holder: Holder
) -> tuple[WritableSmbFile, bool]:
    """The file at the server's path ``name``, open for writing, and whether it was made. Raises
    the server's refusal as a NetfsError: AlreadyExists if it is ``exclusive`` and was there,
    BeingRemoved if a client still has the file open that was there, after ``REMOVED_SECONDS``."""
    end, pause = trio.current_time() + REMOVED_SECONDS, _FIRST_PAUSE
    while True:
        try:
            return await _create(session, files, name, exclusive=exclusive, holder=holder)
        except BeingRemoved:
            if trio.current_time() + pause > end:
                raise
        await trio.sleep(pause)
        pause = min(2 * pause, _LONGEST_PAUSE)


async def _create(
    session: Session, files: OpenFiles, name: str, *, exclusive: bool, holder: Holder
) -> tuple[WritableSmbFile, bool]:
    asked = session.clock.now()
    await session.transport()  # what is lost from here on was sent
    disposition = FILE_CREATE if exclusive else FILE_OPEN_IF
    try:
        file = await files.open_writing(name, holder=holder, disposition=disposition)
    except (Disconnected, ProtocolError) as lost:
        log.info("making %r was not answered: %s", name, lost)
    else:
        return file, file.was_made
    file = await files.open_writing(name, holder=holder, disposition=FILE_OPEN_IF)
    made = file.was_made or (not file.attr.size and is_new(file.attr, asked))
    if exclusive and not made:
        await file.aclose()
        raise AlreadyExists(name)
    return file, made
