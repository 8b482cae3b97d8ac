"""Which files are symlinks, and where they lead. Raises ``NetfsError`` only.

Some servers say that a file may be a link, and no more: a Minshall+French link is a file of 1,067
bytes, and so is many a file that is none. Whether it is one costs a question, so all of a listing's
are asked at once, and the answer is kept with the record under which it was given: a reader that
lists the directory again asks nothing.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable, Mapping

import trio

from netfsfuse.errors import AccessDenied, Locked, NetfsError, NotFound
from netfsfuse.types import (
    Coherency,
    DirEntry,
    FileAttr,
    ServerTime,
    coherency_of,
    creation_is_derived,
    same_content,
)
from netfsfuse.vfs.inodes.identity import Sight, is_settled
from netfsfuse.vfs.ops import Namespace

log = logging.getLogger(__name__)

AT_ONCE = 64
"""Questions on their way for one reader of a directory."""

KEPT_MAX = 32_768
"""Answers; some 10 MB, and more where links are long."""


Answers = Mapping[str, str | None]
"""The targets of some names in one directory; None for what may be a link and is none."""

NOTHING: Answers = {}


class Links:
    """Asks, and keeps the answers. ``server_time``: the server's clock, now. ``is_away``: whether
    it cannot be asked."""

    def __init__(
        self,
        namespace: Namespace,
        server_time: Callable[[], ServerTime],
        *,
        most: int = KEPT_MAX,
        is_away: Callable[[], bool] = lambda: False,
    ) -> None:
        self._namespace = namespace
        self._server_time = server_time
        self._most = most
        self._is_away = is_away
        # By FileId: the path too where the record may be another file's, see fscache/cookie.py.
        self._kept: dict[int, tuple[Coherency, str, str | None]] = {}

    def _recall(self, path: str, attr: FileAttr) -> tuple[bool, str | None]:
        """Whether an answer is kept, and what it was."""
        kept = self._kept.get(attr.file_id)
        if kept is None:
            return False, None
        record, where, target = kept
        if not same_content(record, attr) or (creation_is_derived(attr) and where != path):
            return False, None
        return True, target

    async def target(self, path: str, attr: FileAttr) -> str | None:
        """The target if ``path`` is a symlink. A link we may not read is shown as a file."""
        if not self._namespace.may_be_link(attr):
            return None
        known, target = self._recall(path, attr)
        if known:
            return target
        asked = self._server_time()
        try:
            target = await self._namespace.read_link(path, attr)
        except (AccessDenied, Locked, NotFound) as failed:
            log.debug("reading a possible link: %s", failed)
            return None
        if attr.file_id and is_settled(attr, asked, Sight()):
            self._kept.pop(attr.file_id, None)
            self._kept[attr.file_id] = coherency_of(attr), path, target
            if len(self._kept) > self._most:
                del self._kept[next(iter(self._kept))]
        return target

    async def targets(self, path_of: Callable[[str], str], entries: Iterable[DirEntry]) -> Answers:
        """Ask for the entries of one directory that may be links; those that could not be asked are
        left out. ``path_of``: the path of a name."""
        found: dict[str, str | None] = {}
        asking = []
        for entry in entries:
            if self._namespace.may_be_link(entry.attr):
                known, target = self._recall(path_of(entry.name), entry.attr)
                if known:
                    found[entry.name] = target
                else:
                    asking.append(entry)
        if not asking or self._is_away():
            return found
        limit = trio.CapacityLimiter(AT_ONCE)

        async def ask(entry: DirEntry) -> None:
            async with limit:
                try:
                    found[entry.name] = await self.target(path_of(entry.name), entry.attr)
                except NetfsError as failed:
                    log.debug("reading a possible link: %s", failed)

        async with trio.open_nursery() as nursery:
            for entry in asking:
                nursery.start_soon(ask, entry)
        return found
