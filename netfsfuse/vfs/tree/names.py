"""From names to inodes, and what is believed of them. Raises ``NetfsError`` only.

Every answer of the server passes :meth:`Names.bind` or :meth:`Names.accept`, which hold it against
the inode that the kernel means: a changed file retires its content, and a name that has become
another file raises Stale (getattr, open), upon which the kernel looks the name up anew, or gets a
new generation (look-up, listing), upon which it drops the old inode's pages and handles.
"""

from __future__ import annotations

import logging
import math
from collections.abc import Awaitable, Callable, Iterable

import trio

from netfsfuse.errors import (
    NetfsError,
    Stale,
)
from netfsfuse.types import FileAttr, creation_is_derived, same_content
from netfsfuse.types import coherency_of as record_of
from netfsfuse.vfs.coherency.judge import Judge
from netfsfuse.vfs.contents import Contents
from netfsfuse.vfs.inodes.identity import generation_of, surely_same_file
from netfsfuse.vfs.inodes.inodes import Inode, InodeTable
from netfsfuse.vfs.ops import Namespace, OpenFile
from netfsfuse.vfs.tree.aliases import Aliases
from netfsfuse.vfs.tree.former_names import FormerNames
from netfsfuse.vfs.tree.links import NOTHING, Answers, Links

log = logging.getLogger(__name__)


class Names:
    """Looks names up and binds them to inodes. ``open_files``: the files that are open by an inode,
    to ask them. ``drop_entry(directory, name)`` makes the kernel drop a name."""

    def __init__(
        self,
        namespace: Namespace,
        contents: Contents,
        inodes: InodeTable,
        judge: Judge,
        links: Links,
        open_files: Callable[[Inode], Iterable[OpenFile]],
        drop_entry: Callable[[Inode, str], Awaitable[None]],
    ) -> None:
        self._judge = judge
        self._namespace = namespace
        self._contents = contents
        self._inodes = inodes
        self._links = links
        self._open_files = open_files
        self._aliases = Aliases(namespace, inodes)
        self.former_names = FormerNames(namespace, drop_entry, judge)

    # -- what is believed ---------------------------------------------------------------------

    def attr_timeout(self, inode: Inode) -> float:
        """Seconds for which the inode's attributes are believed from now on, 0 for none."""
        return self._judge.attributes(inode)

    # -- from names to inodes -----------------------------------------------------------------

    def known_by(self, parent: Inode, name: str, attr: FileAttr) -> Inode | None:
        """The inode that is known by ``name``, if that is listed as ``attr``."""
        inode = self._inodes.find(self._aliases.number(parent, name, attr))
        is_there = inode is not None and (inode.parent, inode.name) == (parent, name)
        return inode if is_there else None

    def bind_at_once(
        self, parent: Inode, name: str, attr: FileAttr, asked: float, answers: Answers = NOTHING
    ) -> Inode | None:
        """As :meth:`bind`, where that needs no question to the server; else None."""
        if self._namespace.may_be_link(attr) and answers.get(name, "unknown") is not None:
            return None
        number = self._aliases.number(parent, name, attr)
        inode = self._inodes.find(number)
        if inode is None:
            inode = self._inodes.add(Inode(number, parent, name, attr))
            inode.alias = self._aliases.is_alias(parent, name, attr)
        elif asked < inode.known_at:
            return inode
        elif (
            inode.parent is not parent
            or inode.name != name
            or inode.target is not None
            or not (inode.attr == attr or surely_same_file(inode.attr, attr))
        ):
            return None
        inode.astray = False
        self.learn(inode, attr, asked)
        return inode

    async def bind(
        self, parent: Inode, name: str, attr: FileAttr, asked: float, answers: Answers = NOTHING
    ) -> Inode:
        """The inode for what the server, ``asked`` then, says is ``name`` in ``parent``.
        ``answers``: what ``Links`` has found out already."""
        path = parent.path_of(name)
        target = answers[name] if name in answers else await self._links.target(path, attr)
        number = await self._aliases.find(parent, name, attr)
        same = True
        while (inode := self._inodes.find(number)) is not None:
            if asked < inode.known_at:
                return inode
            same = await self._is_same(inode, attr)
            # The kernel may have forgotten it meanwhile, or another task learned more.
            if self._inodes.find(number) is inode and asked >= inode.known_at:
                break
        if inode is None:
            inode = self._inodes.add(Inode(number, parent, name, attr))
            inode.alias = self._aliases.is_alias(parent, name, attr)
        else:
            if not same:
                log.debug("inode %d is another file now: %s", number, path)
                inode.generation = generation_of(attr)
                inode.pages = None
                self._contents.retire(number)
            elif (inode.parent, inode.name) != (parent, name) and creation_is_derived(attr):
                # It may be another file by another name, with equal times: see fscache/cookie.py.
                inode.pages = None
                self._contents.retire(number)
            if not inode.holds(parent):
                self.former_names.note(inode, parent, name, self._judge.lifetime(attr))
                inode.parent, inode.name = parent, name
        inode.target = target
        inode.astray = False
        self.learn(inode, attr, asked)
        return inode

    def learn(self, inode: Inode, attr: FileAttr, asked: float) -> None:
        """Take in what is known for certain to be the inode's, the answer to a question of
        ``asked``, unless a later one was answered first: the kernel would be told an old size, and
        cut readers off who have seen more.
        """
        if asked < inode.known_at or asked <= inode.changed_at:
            return
        if inode.is_ruled and inode.written is not None:
            inode.written.shown()
        before = inode.attr
        if inode.is_ruled:
            attr = attr._replace(size=before.size, write=before.write, change=before.change)
        elif inode.written is not None and attr.write < before.write:
            # Samba shows the time of a write some 2 s late.
            attr = attr._replace(write=before.write, change=max(attr.change, before.change))
        if before.write != attr.write or before.change != attr.change or before.size != attr.size:
            inode.moved_after, inode.same_since = inode.known_at, trio.current_time()
        elif inode.same_since == math.inf:
            inode.same_since = trio.current_time()
        inode.known_at = asked
        inode.attr = attr
        inode.attr_until = asked + self._judge.lifetime(attr)
        if not inode.is_ruled:
            self._contents.changed(inode.number, attr)

    def moved(self, inode: Inode, parent: Inode, name: str, attr: FileAttr, asked: float) -> None:
        """The inode was renamed here, ``asked`` then, to ``name`` in ``parent``, where it is
        ``attr``. The kernel has moved it too, with its pages."""
        self._judge.opened.move(inode.number, (parent.number, name))
        if not attr.is_directory:
            to = parent.path_of(name)
            self._contents.cache.renamed(inode.attr, inode.path, attr, to)
        inode.parent, inode.name = parent, name
        inode.linked = inode.linked or parent.linked
        inode.astray = False
        if inode.former_names is not None:
            inode.former_names.pop((parent, name), None)
        self.learn(inode, attr, asked)

    def resized(self, inode: Inode) -> None:
        """The file was cut or extended here by its path, or may have been: no handle that is open
        goes on with bytes that were read before."""
        self._contents.retire(inode.number)

    def forget_alias(self, parent: Inode, name: str) -> None:
        """``name`` was made, removed or renamed here: it is no further name of a directory now."""
        self._aliases.forget(parent, name)

    async def _is_same(self, inode: Inode, attr: FileAttr) -> bool:
        """Whether what has the inode's number now may go on as the inode.

        It may be a new file that was given a dead one's number. That matters to those who hold the
        inode's file open, and an open handle can be asked. With none open it is a matter of
        content, as any change in place is (and servers that derive creation times tell the two
        apart by nothing): the kernel would fail every program that is just opening the inode with
        EIO if it were told of another one each time.
        """
        if surely_same_file(inode.attr, attr):
            return True
        if inode.attr.is_directory != attr.is_directory:
            return False
        files = list(self._open_files(inode))
        for file in files:
            try:
                now = await file.query()
            except NetfsError as failed:
                log.debug("asking an open handle: %s", failed)
                continue
            # It may have changed since ``attr`` was asked for.
            if now.file_id == attr.file_id and surely_same_file(now, attr):
                return True
        return not files

    async def accept(
        self, inode: Inode, attr: FileAttr, asked: float, *, final: bool = False
    ) -> None:
        """Hold what is at the inode's path now against the inode. Raises Stale if it is another.

        ``final``: it was opened, and no other handle of ours could stand in the way of its times,
        so it counts more than what was asked later by its path.
        """
        if final:
            inode.known_at = max(min(inode.known_at, asked), inode.changed_at)
        if inode is not self._inodes.root and asked >= inode.known_at:
            if not inode.is_the_one(attr, inode.path):
                raise Stale(f"{inode.path!r} is another file now")
            if not await self._is_same(inode, attr):
                raise Stale(f"{inode.path!r} was made anew")
            if not same_content(record_of(inode.attr), attr):
                await self._accept_target(inode, attr)
        inode.astray = False
        self.learn(inode, attr, asked)

    async def _accept_target(self, inode: Inode, attr: FileAttr) -> None:
        """A changed file may have become a symlink, or one that leads elsewhere."""
        target = await self._links.target(inode.path, attr)
        if (target is None) != (inode.target is None):
            raise Stale(f"{inode.path!r} is of another kind now")
        inode.target = target
