"""Making a file though the answer may be lost.

A CREATE that was sent and not answered may have made the file, and a blind repetition would find
its own success as a collision. So the second attempt takes what is there as well: where that is
empty, and was made since the first was sent, it is the file that we have made.
"""

from __future__ import annotations

import logging

from netfsfuse.errors import AlreadyExists, Disconnected, ProtocolError
from netfsfuse.smb.session.lease import Holder
from netfsfuse.smb.session.session import Session
from netfsfuse.smb.share.lost_answers import is_new
from netfsfuse.smb.share.openfiles import OpenFiles
from netfsfuse.smb.share.writable import WritableSmbFile
from netfsfuse.smb.wire.create import FILE_CREATE, FILE_OPEN_IF

log = logging.getLogger(__name__)


async def create(
    session: Session, files: OpenFiles, name: str, *, exclusive: bool, holder: Holder
) -> tuple[WritableSmbFile, bool]:
    """The file at the server's path ``name``, open for writing, and whether it was made. Raises
    the server's refusal as a NetfsError: AlreadyExists if it is ``exclusive`` and was there."""
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
