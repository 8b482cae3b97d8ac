"""Whether a server's FileIds name its files. PURE.

Inode numbers, cached data and the sharing of handles all rest on them. A server that gives the same
FileId to different files is found out by a listing: two names with one FileId are hard links, which
agree in everything else. From then on all its files count as having none, and are known by path.

Links of one file may differ in a listing all the same: it grew between the two entries. So the
server is asked for both once more, and for the first one again, before it is judged.

Creation times may be made up from the other times, and then move when a file is read: measured with
Samba 4.17 on a disk mounted ``relatime``, which reports the least of access, write and change time.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator, Sequence

from netfsfuse.types import DirEntry, FileAttr, creation_is_derived

log = logging.getLogger(__name__)


class FileIds:
    """What is known of one share's FileIds."""

    def __init__(self) -> None:
        self.trusted = True

    def seen(self, attr: FileAttr) -> FileAttr:
        """``attr`` as far as it is to be believed."""
        return attr if self.trusted else attr._replace(file_id=0)

    def suspects(self, entries: Sequence[DirEntry]) -> Iterator[tuple[str, str]]:
        """Names of one page with one FileId that are not described alike, "." and ".." not among
        them; each FileId once."""
        if not self.trusted:
            return
        ids = {entry.attr.file_id for entry in entries}
        ids.discard(0)
        if len(ids) == len(entries):
            return
        known: dict[int, DirEntry] = {}
        told = {0}
        for entry in entries:
            file_id = entry.attr.file_id
            other = known.setdefault(file_id, entry)
            if file_id not in told and not _alike(other.attr, entry.attr):
                told.add(file_id)
                yield other.name, entry.name

    def judge(self, first: FileAttr, other: FileAttr, again: FileAttr, where: str) -> bool:
        """Judge by two names of ``where`` that were asked for one after the other, the first one
        ``again`` after that. Returns whether that says anything: not while the file changes."""
        if first.file_id != again.file_id or not _alike(first, again):
            return False
        if first.file_id and first.file_id == other.file_id and not _alike(first, other):
            self.trusted = False
            log.warning(
                "the server gives one FileId (%#x) to several files in %r: "
                "from here on files are known by their paths",
                first.file_id,
                where,
            )
        return True


def _alike(one: FileAttr, other: FileAttr) -> bool:
    """Whether both may describe one file at one moment."""
    return (
        one.size == other.size
        and one.write == other.write
        and one.is_directory == other.is_directory
        and (
            one.creation == other.creation
            or creation_is_derived(one)  # a reader in between moves it
            or creation_is_derived(other)
        )
    )
