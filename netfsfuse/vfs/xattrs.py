"""The extended attributes of a mount. All are made here: the server's own are not shown.

They are how ``netfsfuse stats``, ``cache`` and ``watch`` ask a mount, whatever user runs them: an
attribute needs no socket that could be left behind. Raises ``NetfsError`` only.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import asdict
from typing import Any

from netfsfuse.errors import InvalidArgument, NoAttribute, NotSupported
from netfsfuse.stats import CHANGES_XATTR, OBJECT_XATTR, STATS_XATTR
from netfsfuse.vfs.feed.feeds import Feeds
from netfsfuse.vfs.inodes.identity import ROOT_INODE
from netfsfuse.vfs.inodes.inodes import InodeTable

_STATS, _OBJECT, _CHANGES = (each.encode() for each in (STATS_XATTR, OBJECT_XATTR, CHANGES_XATTR))


class ExtendedAttributes:
    """``describe`` returns what the root shows of the mount, ``locate`` where the file of an inode
    number is cached, None where it is not."""

    def __init__(
        self,
        inodes: InodeTable,
        feeds: Feeds,
        describe: Callable[[], dict[str, Any]],
        locate: Callable[[int], dict[str, str] | None],
    ) -> None:
        self._inodes = inodes
        self._feeds = feeds
        self._describe = describe
        self._locate = locate

    def get(self, number: int, name: bytes) -> bytes:
        """The value, as JSON. Raises NoAttribute where a file is not cached, InvalidArgument for a
        change that is no number, what ``Feeds.page`` raises, and NotSupported for all other names:
        not NoAttribute, or ``ls -l`` would ask again for every file, and be 20 times slower.
        """
        if number == ROOT_INODE and name == _STATS:
            return json.dumps(self._describe()).encode()
        if name == _OBJECT:
            place = self._locate(number)
            if place is None:
                raise NoAttribute(f"inode {number} is not cached")
            return json.dumps(place).encode()
        if name.startswith(_CHANGES):
            return self._changes(number, name[len(_CHANGES) :])
        raise NotSupported("no such attributes here")

    def _changes(self, number: int, after: bytes) -> bytes:
        try:
            last = int(after)
        except ValueError:
            raise InvalidArgument(f"after change {after!r}") from None
        page = self._feeds.page(self._inodes.get(number), last)
        changes = [asdict(each) for each in page.events]
        return json.dumps({"next": page.next_seq, "changes": changes}).encode()
