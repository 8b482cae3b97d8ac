"""Where the questions of ``trust`` and ``listed_names`` are asked: with the mount's options and the
clock, and so that every answer's reason is counted, and logged at debug level.

One call is one decision. Counting costs 0.1 us; whether debug lines are wanted is asked once, when
the mount begins.
"""

from __future__ import annotations

import logging
from collections.abc import Callable

import trio

from netfsfuse.config import TrustConfig
from netfsfuse.types import FileAttr, ServerTime
from netfsfuse.vfs.coherency import listed_names, trust
from netfsfuse.vfs.coherency.listed_names import Known, Missing
from netfsfuse.vfs.coherency.opened import OpenedFiles, Place
from netfsfuse.vfs.coherency.reason import Reason
from netfsfuse.vfs.inodes.directory import Folder
from netfsfuse.vfs.inodes.inodes import Inode

log = logging.getLogger(__name__)


class Judge:
    """The mount's ``config`` applied. ``counts``: reason -> how often it was given, owned by the
    caller; all reasons are in it from here on. ``opened``: the files that were opened before.
    ``is_heard``: whether what the server would have told by itself has been told.

    Every method is called on the loop and waits for nothing.
    """

    def __init__(
        self,
        config: TrustConfig,
        counts: dict[str, int],
        opened: OpenedFiles | None = None,
        is_heard: Callable[[], bool] = lambda: True,
    ) -> None:
        self.config = config
        self._is_heard = is_heard
        self.opened = OpenedFiles() if opened is None else opened
        for reason in Reason:
            counts.setdefault(reason, 0)
        self._counts = counts
        self._is_logged = log.isEnabledFor(logging.DEBUG)

    def _log(self, question: str, path: str, why: Reason) -> None:
        log.debug("%s of %r: %s", question, path, why.value)

    @property
    def watches(self) -> bool:
        """Whether directories are watched: not where nothing is believed, or nothing kept."""
        return self.config.acdirmax > 0 and self.config.mode != "none"

    # -- a file or directory ------------------------------------------------------------------

    def lifetime(self, attr: FileAttr) -> float:
        """Seconds for which what was asked of a file or directory is believed."""
        return trust.lifetime_of(attr, self.config)

    def attributes(self, inode: Inode) -> float:
        """Seconds for which the inode's attributes are believed from now on, 0 for none."""
        lifetime = trust.lifetime_of(inode.attr, self.config)
        left, why = trust.attributes(inode, trio.current_time(), lifetime)
        self._counts[why] += 1
        if self._is_logged:
            self._log("attributes", inode.path, why)
        return left

    def opens(self, inode: Inode) -> bool:
        """Whether an open may do without the server, as far as changes go: the server must also
        have let us open the file before (:meth:`was_opened`)."""
        may, why = trust.opens(inode, trio.current_time(), self.config)
        self._counts[why] += 1
        if self._is_logged:
            self._log("open", inode.path, why)
        return may

    def was_opened(self, number: int, attr: FileAttr, place: Place) -> bool:
        """Whether file ``number`` was opened by its name at ``place`` with the content that
        ``attr`` stands for."""
        was, why = self.opened.judge(number, attr, place)
        self._counts[why] += 1
        if self._is_logged:
            self._log("opened before", place[1], why)
        return was

    def lease(self, inode: Inode, *, leasing: bool) -> bool:
        """Whether a handle that is open under a lease may stand for the server at an open;
        ``leasing``: whether the server grants leases to this mount."""
        may, why = trust.lease(inode, leasing=leasing and self._is_heard())
        self._counts[why] += 1
        if self._is_logged:
            self._log("lease", inode.path, why)
        return may

    def settled(
        self,
        inode: Inode,
        attr: FileAttr,
        server_time: Callable[[], ServerTime],
        asked: float | None = None,
    ) -> bool:
        """Whether the file, found as ``attr``, had been left alone for a while when the server was
        ``asked`` for it; None: until now."""
        now = trio.current_time()
        then = now if asked is None else asked
        is_so, why = trust.settled(inode, attr, then, now, server_time)
        self._counts[why] += 1
        if self._is_logged:
            self._log("rest", inode.path, why)
        return is_so

    def current(self, inode: Inode, opened_as: FileAttr) -> bool:
        """Whether the inode's file has not changed since it was ``opened_as``, as far as was
        learned since. Asked at every read of a file at hand: counted only where it has changed."""
        is_so, why = trust.current(inode, opened_as)
        if not is_so:
            self._counts[why] += 1
            if self._is_logged:
                self._log("what was opened", inode.path, why)
        return is_so

    # -- a directory's names ------------------------------------------------------------------

    def listing(self, inode: Inode, *, rewound: bool = False) -> Folder | None:
        """The directory's listing if it may be shown now; ``rewound``: by a reader that has."""
        folder, now = inode.folder, trio.current_time()
        may, why = listed_names.listing(
            folder, inode.watched, now, self.config.acdirmax, rewound=rewound
        )
        self._counts[why] += 1
        if self._is_logged:
            self._log("listing", inode.path, why)
        return folder if may else None

    def name(self, directory: Inode, name: str, now: float) -> Known | Missing | None:
        """What is believed of ``name``; None where the server must be asked."""
        if (folder := directory.folder) is None:
            found, why = None, Reason.UNLISTED
        else:
            attr = folder.attrs.get(name)
            lifetime = 0.0 if attr is None else trust.lifetime_of(attr, self.config)
            found, why = listed_names.name(folder, directory.watched, name, now, lifetime)
        self._counts[why] += 1
        if self._is_logged:
            self._log("name", directory.path_of(name), why)
        return found

    def described(self, found: Known, inode: Inode | None, now: float) -> bool:
        """Whether a name that is ``found`` may be answered with the attributes that were listed;
        ``inode``: what it leads to, if that is known."""
        lifetime = trust.lifetime_of(found.attr, self.config)
        may, why = listed_names.described(found, inode, now, lifetime)
        self._counts[why] += 1
        if self._is_logged:
            self._log("listed attributes", "" if inode is None else inode.path, why)
        return may

    def former_name(self, directory: Inode, name: str) -> Known | None:
        """What ``name`` leads to now, by which the kernel may come to an inode that was found
        elsewhere since; None where the server must be asked."""
        found, why = listed_names.former_name(directory, name, trio.current_time(), self.config)
        self._counts[why] += 1
        if self._is_logged:
            self._log("former name", directory.path_of(name), why)
        return found

    def relisted(self, inode: Inode) -> tuple[Known | None, Reason]:
        """What a listing says of an inode that was asked for before that; CHANGED where one begun
        now would say it."""
        lifetime = trust.lifetime_of(inode.attr, self.config)
        found, why = listed_names.relisted(inode, trio.current_time(), lifetime)
        self._counts[why] += 1
        if self._is_logged:
            self._log("attributes listed anew", inode.path, why)
        return found, why

    def fetched(self, directory: Inode, name: str | None, asked: float) -> bool:
        """Whether what was ``asked`` of a file before its open is true of it now; without a
        ``name`` whether that may be, of the files that were listed then."""
        may, why = trust.fetched(directory.watched, name, asked, trio.current_time())
        self._counts[why] += 1
        if self._is_logged:
            self._log("fetched", directory.path if name is None else directory.path_of(name), why)
        return may
