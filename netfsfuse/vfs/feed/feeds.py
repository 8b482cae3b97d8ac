"""What happens on the server below a directory, for programs that read along.

A feed is a watch of a tree (``treewatch.py``) and the last changes that it told. It lives as long
as a reader asks for it, and ``IDLE`` longer. A reader says up to which change it has read; one that
is too slow is told that changes were lost, and so is every reader after an outage, and where what
the server told is in doubt: the machine has slept, the network has changed.
"""

from __future__ import annotations

import json
import logging
import time
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass

import trio

from netfsfuse.errors import NetfsError, NotADirectory, NotSupported
from netfsfuse.tasks import ServiceNursery
from netfsfuse.types import Change, ChangeKind, Reach
from netfsfuse.vfs.feed.treewatch import TreeWatch
from netfsfuse.vfs.inodes.inodes import Inode
from netfsfuse.vfs.ops import Namespace

log = logging.getLogger(__name__)

REMEMBERED = 4096
"""Changes of a feed."""

PAGE = 100
"""Changes of one answer."""

PAGE_BYTES = 60 * 1024
"""Bytes of one answer as JSON: an attribute holds 64 KiB."""

PATH_MAX = 4096
"""Bytes of a path that can be told: no program here could use a longer one. Two of them, each byte
written as six, are less than a page."""

FEEDS_MAX = 2
DIRECTORIES_MAX = 96
"""Watched by themselves for one feed: all feeds together take less than the mount's own watches."""

IDLE = 10.0
_AGAIN = 1.0
_LOST = "lost"
_FRAME = 100  # names, quotes and the other values


@dataclass(frozen=True, slots=True)
class ChangeEvent:
    """One change. ``when``: seconds since 1970, by our clock; ``to``: the new name of what was
    renamed. ``kind`` ``lost``: some changes before it were not told."""

    when: float
    kind: str
    path: str = ""
    to: str = ""

    @property
    def weight(self) -> int:
        """Bytes that it takes as JSON, and a few more."""
        return len(json.dumps(self.path)) + len(json.dumps(self.to)) + _FRAME


@dataclass(frozen=True, slots=True)
class Page:
    """What came after a reader's last: ``next_seq`` is what to say next time."""

    next_seq: int
    events: Sequence[ChangeEvent]


class _Feed:
    def __init__(self) -> None:
        self.last = 0
        self.events: deque[tuple[int, ChangeEvent]] = deque(maxlen=REMEMBERED)
        self.begun = False
        self.failure: NetfsError | None = None
        self.scope = trio.CancelScope()
        self.asked()

    def asked(self) -> None:
        """A reader asks for it: it lives on."""
        self.scope.deadline = trio.current_time() + IDLE

    def begin(self) -> None:
        """The server tells from now on, for the first time or after an outage."""
        self.doubt()
        self.begun = True

    def doubt(self) -> None:
        """Some changes may not have been told: again, if it said so before."""
        if self.begun:
            self.add(ChangeEvent(time.time(), _LOST))

    def add(self, *events: ChangeEvent) -> None:
        """The newest."""
        for event in events:
            self.last += 1
            self.events.append((self.last, event))


class Feeds:
    """The feeds of one mount. ``nursery`` runs them."""

    def __init__(self, namespace: Namespace, nursery: ServiceNursery) -> None:
        self._namespace = namespace
        self._nursery = nursery
        self._feeds: dict[Inode, _Feed] = {}
        namespace.reachability.on_doubt(self._doubt)

    def _doubt(self) -> None:
        """Watches that go on may have missed something. Those that are made anew say so then: what
        is told behind a loss is complete."""
        if self._namespace.reachability.reach is Reach.UP:
            for feed in self._feeds.values():
                feed.doubt()

    def page(self, inode: Inode, after: int) -> Page:
        """What happened after change ``after``; with -1 where to begin, which is -1 until the
        server tells. Raises NotSupported, NotADirectory."""
        if not inode.attr.is_directory:
            raise NotADirectory(inode.path)
        feed = self._feeds.get(inode)
        if feed is None:
            if len(self._feeds) >= FEEDS_MAX:
                raise NotSupported("too many directories are read along already")
            feed = self._feeds[inode] = _Feed()
            if after >= 0:  # a reader of an earlier feed goes on, and is told of its loss
                feed.last = after
                feed.add(ChangeEvent(time.time(), _LOST))
            self._nursery.start_soon(self._follow, inode, feed)
        feed.asked()
        if feed.failure is not None:
            raise feed.failure
        if after < 0:
            return Page(feed.last if feed.begun else -1, ())
        return _page(feed, after)

    async def _follow(self, inode: Inode, feed: _Feed) -> None:
        """The task of one feed, until no reader asks any more."""

        def told(changes: Sequence[Change]) -> None:
            feed.add(*_events(changes, time.time()))

        try:
            with feed.scope:
                while True:
                    watch = TreeWatch(self._namespace, inode.path, told, most=DIRECTORIES_MAX)
                    try:
                        await watch.run(feed.begin)
                    except NotSupported as refused:
                        feed.failure = refused
                    except NetfsError as failed:
                        log.debug("reading along in %r: %s", inode.path, failed)
                    except Exception:  # of one of its tasks: its readers are told of a loss
                        log.exception("reading along in %r failed", inode.path)
                    await trio.sleep(_AGAIN)
        finally:
            del self._feeds[inode]


def _events(changes: Sequence[Change], now: float) -> list[ChangeEvent]:
    """A rename's two halves as one."""
    if not changes:
        return [ChangeEvent(now, _LOST)]
    found: list[ChangeEvent] = []
    renamed: str | None = None
    for name, kind in changes:
        if len(name.encode("utf-8", "surrogatepass")) > PATH_MAX:
            found.append(ChangeEvent(now, _LOST))
            renamed = None
            continue
        if kind is ChangeKind.RENAMED_TO and renamed is not None:
            found[-1] = ChangeEvent(now, ChangeKind.RENAMED_FROM.value, renamed, name)
            renamed = None
            continue
        renamed = name if kind is ChangeKind.RENAMED_FROM else None
        shown = {
            ChangeKind.RENAMED_FROM: ChangeKind.REMOVED,  # to somewhere else
            ChangeKind.RENAMED_TO: ChangeKind.CREATED,
        }.get(kind, kind)
        found.append(ChangeEvent(now, shown.value, name))
    return found


def _page(feed: _Feed, after: int) -> Page:
    known: list[tuple[int, ChangeEvent]] = []
    weight = _FRAME
    for number, each in feed.events:
        if number <= after:
            continue
        weight += each.weight
        if len(known) == PAGE or weight > PAGE_BYTES:
            break
        known.append((number, each))
    if not known:
        return Page(feed.last, ())
    events = [each for _, each in known]
    if known[0][0] > after + 1:
        events.insert(0, ChangeEvent(events[0].when, _LOST))
    return Page(known[-1][0], events)
