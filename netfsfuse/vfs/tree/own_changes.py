"""What our own changes make of what is known. Waits for nothing, asks nothing.

The server's answer to a change says what is there now. So what is kept is put right from it: the
listing of the directory, the inodes, what was fetched ahead, and what the kernel believes to be
absent under another spelling; the names that its own calls made and removed the kernel knows
itself. What the directory's watch tells of it is left out (``echoes.py``).

A directory's times move with each name in it, and no answer states them. They are taken from the
server's clock where the rest of its attributes is believed, and asked for later, with these; where
they are not believed, or the clock is not known, they are asked for at once.

``asked`` is when the change was sent: another client's change that was told since counts as later.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from contextlib import AbstractContextManager, nullcontext
from typing import Protocol

import trio

from netfsfuse.types import Change, ChangeKind, FileAttr
from netfsfuse.vfs.coherency.echoes import MODIFIED_MOST
from netfsfuse.vfs.coherency.watches import Watches
from netfsfuse.vfs.inodes.directory import folded
from netfsfuse.vfs.inodes.identity import inode_number
from netfsfuse.vfs.inodes.inodes import Inode, InodeTable
from netfsfuse.vfs.inodes.listed import inode_listed_as
from netfsfuse.vfs.ops import Namespace
from netfsfuse.vfs.tree.listings import Listings
from netfsfuse.vfs.tree.names import Names

FORESEEN_MAX = 2_000
"""Names of a directory that is listed because names are made in it: some five pages."""

_CREATION = (ChangeKind.CREATED,)


class KernelNames(Protocol):
    """What the kernel knows of names."""

    def changed(self, directory: Inode, changes: Sequence[Change]) -> None:
        """As another client's changes: the kernel is to ask again. Never waits."""
        ...

    def own_change(self, directory: Inode, name: str) -> None:
        """A call of the kernel has made ``name`` in ``directory``, or removed it. Never waits."""
        ...


class FetchedAhead(Protocol):
    """What is fetched before it is asked for."""

    def forget(self, directory: Inode, name: str) -> None:
        """A file was changed or removed here: what was fetched of it is of no use."""
        ...

    def list(self, directory: Inode) -> None:
        """Watch a directory and list it, in the background."""
        ...


class OwnChanges:
    """Puts right what is known, as the module says.

    ``changed_at``: when the last change was answered (trio clock).
    """

    def __init__(
        self,
        inodes: InodeTable,
        namespace: Namespace,
        names: Names,
        listings: Listings,
        watches: Watches,
        kernel: KernelNames,
        ahead: FetchedAhead,
    ) -> None:
        self._inodes = inodes
        self._namespace = namespace
        self._names = names
        self._listings = listings
        self._watches = watches
        self._kernel = kernel
        self._ahead = ahead
        self.changed_at = float("-inf")

    def expect(
        self,
        inode: Inode,
        name: str | None = None,
        *kinds: ChangeKind,
        modified: float = MODIFIED_MOST,
    ) -> AbstractContextManager[None]:
        """Stands round a change, from before it is sent until it is answered: of ``name`` in the
        directory ``inode``, which is made if ``kinds`` say nothing else; without a name of what the
        file ``inode`` holds. What the watch tells of it then is not taken for another client's;
        ``modified`` times at most, where it tells of the content."""
        if name is not None:
            return self._watches.expect(inode, name, kinds or _CREATION, modified)
        if inode.parent is None:
            return nullcontext()
        return self._watches.expect(inode.parent, inode.name, kinds, modified)

    # -- what was done ------------------------------------------------------------------------

    def created(self, directory: Inode, name: str, attr: FileAttr) -> None:
        """``name`` was made in ``directory``, as ``attr``."""
        self._came(directory, name, attr)
        self._entries_changed(directory, attr.creation)
        self._foresee(directory)

    def _foresee(self, directory: Inode) -> None:
        """Each name that is made is looked up before. Where more are to be expected, and the
        directory is not large, a listing that is watched answers that: not a round trip a file."""
        folder, watched = directory.folder, directory.watched
        if folder is None:
            parent = directory.parent
            if parent is None or not self._listings.recent.is_made(parent, directory.name):
                return
        elif len(folder.attrs) > FORESEEN_MAX or (
            watched is not None and watched.covers(folder.asked, trio.current_time())
        ):
            return
        self._ahead.list(directory)

    def removed(self, directory: Inode, name: str) -> None:
        """``name`` was removed from ``directory``."""
        self._left(self._known(directory, name))
        self._went(directory, name)
        self._entries_changed(directory)

    def renamed(
        self,
        directory: Inode,
        name: str,
        new_directory: Inode,
        new_name: str,
        attr: FileAttr,
        *,
        asked: float,
    ) -> None:
        """``name`` has become ``new_name`` in ``new_directory``, and is ``attr`` there; what had
        that name before is gone."""
        moved = self._known(directory, name)
        if moved is None and attr.file_id:
            found = self._inodes.find(inode_number(attr, ""))
            if found is not None and (found.parent, found.name) == (directory, name):
                moved = found
        replaced = self._known(new_directory, new_name)
        if replaced is not moved:
            self._left(replaced)
        self._went(directory, name)
        self._came(new_directory, new_name, attr)
        if moved is not None:
            if asked >= moved.known_at:
                moved.changed_at = -math.inf
            self._names.moved(moved, new_directory, new_name, attr, asked)
            moved.changed_at = trio.current_time()
        self._entries_changed(directory)
        if new_directory is not directory:
            self._entries_changed(new_directory)

    def modified(self, inode: Inode, attr: FileAttr, *, asked: float) -> None:
        """What ``inode`` holds was changed; it is ``attr`` by the server's answer."""
        now = self.changed_at = trio.current_time()
        is_latest = asked >= inode.known_at
        if is_latest:  # of two changes under way the one that was sent last, whatever was answered
            inode.changed_at = -math.inf
            self._names.learn(inode, attr, asked)
        else:
            inode.attr_until = 0.0
        inode.changed_at = now
        directory = inode.parent
        if directory is None:
            return
        self._ahead.forget(directory, inode.name)
        if not is_latest and directory.watched is not None:
            directory.watched.doubt(inode.name, now)
        elif self._is_listed_so(directory, inode.name, now):
            self._listings.recent.note(directory, inode.name, attr, now)
            if directory.folder is not None and inode.name in directory.folder.attrs:
                directory.folder.put(inode.name, attr)

    def uncertain(self, directory: Inode, name: str) -> None:
        """What is at ``name`` is not what was known, or may not be: it is asked for again, by the
        kernel too."""
        now = self.changed_at = trio.current_time()
        self._listings.recent.note_unknown(directory, now)
        if directory.folder is not None:
            directory.folder.doubt(name)
        told = [Change(name, ChangeKind.RENAMED_TO)]
        if directory.watched is not None:
            is_as_told = self._namespace.is_surely_listed
            directory.watched.told(told, now, directory.folder, is_as_told)
        directory.attr_until = directory.changed_at = now
        self._ahead.forget(directory, name)
        self._kernel.changed(directory, told)

    # -- how that changes what is known -------------------------------------------------------

    def _known(self, directory: Inode, name: str) -> Inode | None:
        """The inode that was found last at ``name``, if it is listed so."""
        found = inode_listed_as(self._inodes, directory, name)
        return found if isinstance(found, Inode) and found.name == name else None

    def _left(self, gone: Inode | None) -> None:
        """The file has left its name; a program may have it open, and others may lead to it."""
        if gone is not None:
            gone.astray = True
            gone.attr_until = 0.0

    def _is_listed_so(self, directory: Inode, name: str, now: float) -> bool:
        """Whether a listing shows the file by ``name``; else what is kept of the directory's is
        given up."""
        folder = directory.folder
        if self._namespace.is_surely_listed(name):
            if folder is None or name in folder.attrs or not folder.holds(name):
                return True
            # The server minds case, or not: it may have been the name that is listed.
            same = folded(name)
            spelt = [
                Change(each, ChangeKind.REMOVED) for each in folder.attrs if folded(each) == same
            ]
            self._kernel.changed(directory, spelt)
        self._listings.recent.note_unknown(directory, now)
        self._listings.forget(directory)
        return False

    def _came(self, directory: Inode, name: str, attr: FileAttr) -> None:
        now = self.changed_at = trio.current_time()
        self._names.forget_alias(directory, name)
        self._ahead.forget(directory, name)
        self._kernel.own_change(directory, name)
        if self._is_listed_so(directory, name, now):
            self._listings.recent.note(directory, name, attr, now)
            self._listings.put(directory, name, attr)

    def _went(self, directory: Inode, name: str) -> None:
        now = self.changed_at = trio.current_time()
        self._names.forget_alias(directory, name)
        self._ahead.forget(directory, name)
        self._kernel.own_change(directory, name)
        if self._is_listed_so(directory, name, now):
            self._listings.recent.note(directory, name, None, now)
            self._listings.drop(directory, name)

    def _entries_changed(self, directory: Inode, stamp: int | None = None) -> None:
        """A name came or went in ``directory``, at ``stamp`` by the server's clock (ns since 1970)
        if that is known."""
        if self._names.attr_timeout(directory) > 0:
            clock = self._namespace.server_time()
            if stamp is None and clock.measured < float("inf"):
                stamp = int((clock.earliest + clock.latest) / 2 * 1e9)
            if stamp is None:
                directory.attr_until = 0.0
                if directory.parent is not None and directory.parent.watched is not None:
                    directory.parent.watched.doubt(directory.name, trio.current_time())
            else:
                stamp = max(stamp, directory.attr.write + 100, directory.attr.change + 100)
                directory.attr = directory.attr._replace(write=stamp, change=stamp)
        directory.changed_at = trio.current_time()
