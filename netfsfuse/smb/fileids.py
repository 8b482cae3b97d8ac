"""Whether a server's FileIds name its files. PURE.

Inode numbers, cached data and the sharing of handles all rest on them. A server that gives the same
FileId to different files is found out by a listing: two names with one FileId are hard links, which
agree in everything else. From then on all its files count as having none, and are known by path.
"""

from __future__ import annotations

import logging
from collections.abc import Sequence

from netfsfuse.types import DirEntry, FileAttr

log = logging.getLogger(__name__)


class FileIds:
    """What is known of one share's FileIds."""

    def __init__(self) -> None:
        self.trusted = True

    def seen(self, attr: FileAttr) -> FileAttr:
        """``attr`` as far as it is to be believed."""
        return attr if self.trusted else attr._replace(file_id=0)

    def judge(self, entries: Sequence[DirEntry], where: str) -> None:
        """Look at the entries of one page of ``where``, "." and ".." not among them."""
        if not self.trusted:
            return
        ids = {entry.attr.file_id for entry in entries}
        ids.discard(0)
        if len(ids) == len(entries):
            return
        known: dict[int, FileAttr] = {}
        for _, attr in entries:
            other = known.setdefault(attr.file_id, attr)
            if attr.file_id and (attr.size, attr.write, attr.is_directory) != (
                other.size,
                other.write,
                other.is_directory,
            ):
                self.trusted = False
                log.warning(
                    "the server gives one FileId (%#x) to several files in %r: "
                    "from here on files are known by their paths",
                    attr.file_id,
                    where,
                )
                return
