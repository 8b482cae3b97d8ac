"""The five ways to open a file. :func:`choose` is PURE and says which; each is a coroutine of
:class:`Openings`.

==========  =======================================================  ============================
way         where it is taken                                        what it costs the server
==========  =======================================================  ============================
``AHEAD``   it was fetched ahead of the reader, and a watch on its    nothing
            directory has told of no change since
``MEMORY``  it was opened before, and the same holds since            nothing
``LEASE``   the server grants leases, and no watch is to be had:      nothing where a handle is open
            a handle that is leased, used or parked, is shared for    under one, else one open
            a moment, for a lease alone says nothing of what the
            server's own users do
``FETCH``   it is small, and open nowhere here                        one round trip, bytes included
``OPEN``    all else, and where nothing may be believed               one round trip
==========  =======================================================  ============================

In the first two no handle is open on the server until a program reads what is not at hand, or has
the file open for a while (``holding.py``).
"""

from __future__ import annotations

import enum
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import trio

from netfsfuse.types import Change, ChangeKind, FileAttr, same_content
from netfsfuse.types import coherency_of as record_of
from netfsfuse.vfs.contents import Contents
from netfsfuse.vfs.files.evidence import Evidence
from netfsfuse.vfs.inodes.inodes import Inode
from netfsfuse.vfs.ops import SMALL, Namespace, OpenFile
from netfsfuse.vfs.prefetch.fetch import Fetch


class Opening(enum.Enum):
    """A way to open a file."""

    MEMORY = "memory"
    AHEAD = "ahead"
    FETCH = "fetch"
    LEASE = "lease"
    OPEN = "open"


def choose(
    *, ask: bool, is_fetched: bool, is_known: bool, leasing: bool, is_small: bool, is_open: bool
) -> Opening:
    """The cheapest way that is right.

    ``ask``: the server is to be asked whatever is known. ``is_fetched``: it was fetched ahead, by
    an open on the server, and can not have changed since. ``is_known``: it was opened before, and
    can not have changed since. ``leasing``: a lease is to stand for it. ``is_open``: a program has
    it open here; then the server shows other attributes than those of the file now, unless all
    handles are given up, which an open with bytes would do as well, in more round trips.
    """
    if ask:
        return Opening.OPEN
    if is_fetched:  # before is_known: it is newer, and has the bytes
        return Opening.AHEAD
    if is_known:
        return Opening.MEMORY
    if leasing:
        return Opening.LEASE
    if is_small and not is_open:
        return Opening.FETCH
    return Opening.OPEN


@dataclass(frozen=True, slots=True)
class Found:
    """A file that was opened; its receiver closes it.

    ``as_of``: when the server was asked for the file's attributes (trio clock); None: they are not
    newer than what is known. ``settled``: they were found to be, when the server was asked.
    ``data``: all of it as its ``attr`` says, where that is at hand; ``new``: the disk cache has not
    got that yet. ``is_read``: its content is to be opened with it, for a file opened so is seldom
    closed before it is read."""

    file: OpenFile
    as_of: float | None = None
    settled: bool = False
    data: memoryview | None = None
    new: bool = False
    is_read: bool = False


class Openings:
    """Opens files. Without ``keeping`` every open asks the server, and nothing is kept of what it
    says. ``on_changes`` hears, with the directory, of what other clients change, as far as a lease
    tells. All raise ``NetfsError``, NotFound where nothing is at the inode's path."""

    def __init__(
        self,
        namespace: Namespace,
        contents: Contents,
        evidence: Evidence,
        on_changes: Callable[[Inode, Sequence[Change]], None],
        *,
        keeping: bool,
    ) -> None:
        self._namespace = namespace
        self._contents = contents
        self._evidence = evidence
        self._on_changes = on_changes
        self._keeping = keeping

    async def find(self, inode: Inode, *, direct: bool) -> Found:
        """What is at the inode's path, as the server has it or as it is known to be. ``direct``:
        the server is asked."""
        ask = direct or not self._keeping
        evidence = self._evidence
        fetched = None if ask else await evidence.fetched(inode)
        is_known = not ask and evidence.is_known(inode)
        way = choose(
            ask=ask,
            is_fetched=fetched is not None
            and fetched.checked
            and self.is_settled(inode, fetched.attr, fetched.asked),
            is_known=is_known,
            leasing=not (ask or is_known)
            and evidence.judge.lease(inode, leasing=self._namespace.leasing),
            is_small=inode.attr.size <= SMALL,
            is_open=evidence.is_open(inode),
        )
        if way is Opening.AHEAD and fetched is not None:
            return self._ahead(inode, fetched)
        if way is Opening.MEMORY:
            return self._memory(inode, fetched)
        if way is Opening.LEASE:
            return await self._fetch(inode, known=inode.attr)
        if way is Opening.FETCH:
            return await self._fetch(inode, known=None)
        return await self._open(inode)

    def _ahead(self, inode: Inode, fetched: Fetch) -> Found:
        file, data = self._deferred(inode, fetched.attr), _all_of(fetched.attr, fetched.head)
        return Found(file, fetched.asked, settled=True, data=data, new=not fetched.stored)

    def _memory(self, inode: Inode, fetched: Fetch | None) -> Found:
        """With the bytes, where the disk cache had them."""
        same = fetched is not None and fetched.attr == inode.attr
        head = fetched.head if fetched is not None and same else None
        file, data = self._deferred(inode, inode.attr), _all_of(inode.attr, head)
        return Found(file, settled=True, data=data)

    async def _open(self, inode: Inode) -> Found:
        asked = trio.current_time()
        file, _ = await self._namespace.open(inode.path, on_break=self._on_break(inode))
        return Found(file, asked, is_read=True)

    async def _fetch(self, inode: Inode, *, known: FileAttr | None) -> Found:
        """A small file with its bytes, from the disk cache if they are there. A handle that is
        leased as what is ``known`` of the file is shared, without a message. What may change once
        more without a trace is read when a program reads it."""
        path = inode.path
        before, stored = inode.attr, None
        is_small = before.size <= SMALL
        wanted = is_small and before.size > 0 and inode.pages is None  # or the kernel has the bytes
        if wanted:
            (stored,) = await self._contents.cache.load_whole([(before, path)])
        asked = trio.current_time()
        file, data = await self._namespace.open(
            path,
            prefill=SMALL if wanted and stored is None else 0,
            known=known,
            on_break=self._on_break(inode),
        )
        is_shared = file.asked < asked
        if not self.is_settled(inode, file.attr, file.asked if is_shared else asked):
            return Found(file) if is_shared else Found(file, asked, is_read=True)
        new = data is not None and not is_shared
        if data is None and stored is not None and same_content(record_of(before), file.attr):
            data = _all_of(file.attr, stored)
        elif not file.attr.size:
            data = memoryview(b"")
        if is_shared:
            return Found(file, data=data)
        return Found(file, asked, settled=True, data=data, new=new, is_read=not is_small)

    def _on_break(self, inode: Inode) -> Callable[[], None]:
        def broken() -> None:
            """Another client is about to change the file, or has done so."""
            inode.attr_until = 0.0
            if inode.parent is not None:
                self._on_changes(inode.parent, [Change(inode.name, ChangeKind.MODIFIED)])

        return broken

    def _deferred(self, inode: Inode, attr: FileAttr) -> OpenFile:
        def opened(now: FileAttr) -> None:
            """It was opened on the server after all, as ``now``."""
            if not same_content(record_of(inode.attr), now):
                inode.attr_until = 0.0
                self._contents.retire(inode.number)

        return self._namespace.open_deferred(inode.path, attr, opened)

    def is_settled(self, inode: Inode, attr: FileAttr, asked: float | None = None) -> bool:
        """Whether the file, found as ``attr``, had been left alone for a while when the server was
        ``asked`` for it, or now: else it may change once more, in the same tick of its clock."""
        return self._evidence.judge.settled(inode, attr, self._namespace.server_time, asked)


def _all_of(attr: FileAttr, head: memoryview | None) -> memoryview | None:
    """``head`` if it is all of the file."""
    return head if head is not None and len(head) == attr.size else None
