"""Telling the kernel what others have changed, so that it asks again before its time is over.

On the loop changes are only noted (:meth:`Notifier.changed`); a task of its own tells the kernel,
in a thread, since invalidating an entry or pages waits for requests that we are to answer. What is
too much is left to the kernel's own timeouts.
"""

from __future__ import annotations

import errno
import logging
from collections.abc import Sequence
from functools import partial
from typing import NamedTuple

import pyfuse3
import trio

from netfsfuse.fuse.attrs import encode_name
from netfsfuse.types import Change
from netfsfuse.vfs.identity import inode_number
from netfsfuse.vfs.inodes import Inode, InodeTable

log = logging.getLogger(__name__)

PENDING_MAX = 4096
"""Names; more are not told. The kernel's timeout, a second by default, finds those out."""

BATCH = 64
_STOP_SECONDS = 2.0
_DROP_SECONDS = 1.0
_UNKNOWN = (errno.ENOENT, errno.ENOTCONN)


class _Told(NamedTuple):
    """What to tell of one name: in directory number ``parent``, leading to inode ``child`` (0: not
    known). ``entry``: the name itself has changed; ``pages``: the kernel may have the child's."""

    parent: int
    name: bytes
    child: int
    entry: bool
    pages: bool


class Notifier:
    """See the module. ``changed`` is for the file system's ``on_change``."""

    def __init__(self, inodes: InodeTable) -> None:
        self._inodes = inodes
        self._pending: dict[tuple[Inode, str], bool] = {}
        self._waiting: dict[tuple[Inode, str], trio.Event] = {}
        self._news = trio.Event()
        self._scope = trio.CancelScope()
        self._ended: trio.Event | None = None

    def changed(self, directory: Inode, changes: Sequence[Change]) -> None:
        """Note what has happened in a directory. Never waits."""
        for change in changes:
            key = (directory, change.name)
            if len(self._pending) < PENDING_MAX or key in self._pending:
                self._pending[key] = self._pending.get(key, False) or change.names
        self._news.set()

    async def drop_entry(self, directory: Inode, name: str) -> None:
        """Returns when the kernel has dropped the name, after a second at most. A handler may wait
        for it that the kernel does not call under a lock on the directory, such as open."""
        waited = self._waiting.setdefault((directory, name), trio.Event())
        self._pending[directory, name] = True
        self._news.set()
        with trio.move_on_after(_DROP_SECONDS):
            await waited.wait()

    async def run(self) -> None:
        """Tell the kernel, until :meth:`stop`. A task."""
        self._ended = trio.Event()
        try:
            with self._scope:
                while True:
                    await self._news.wait()
                    self._news = trio.Event()
                    while self._pending:
                        keys = list(self._pending)[:BATCH]
                        batch = self._take(keys)
                        try:
                            await trio.to_thread.run_sync(
                                partial(_tell, batch), abandon_on_cancel=False
                            )
                        except RuntimeError as failed:  # no thread: its timeouts tell it then
                            log.warning("the kernel is not told of changes: %s", failed)
                        self._wake(keys)
        finally:
            self._ended.set()

    async def stop(self) -> None:
        """No call into the kernel is under way afterwards, unless one hangs."""
        self._scope.cancel()
        if self._ended is not None:
            with trio.move_on_after(_STOP_SECONDS, shield=True):
                await self._ended.wait()

    def _wake(self, keys: Sequence[tuple[Inode, str]]) -> None:
        for key in keys:
            if key in self._waiting and key not in self._pending:
                self._waiting.pop(key).set()

    def _take(self, keys: Sequence[tuple[Inode, str]]) -> list[_Told]:
        batch = []
        for key in keys:
            names = self._pending.pop(key)
            directory, name = key
            if self._inodes.find(directory.number) is not directory:
                continue
            child = self._child(directory, name)
            batch.append(
                _Told(
                    directory.number,
                    encode_name(name),
                    0 if child is None else child.number,
                    names,
                    child is not None and child.pages is not None,
                )
            )
        return batch

    def _child(self, directory: Inode, name: str) -> Inode | None:
        folder = directory.folder
        attr = None if folder is None else folder.attrs.get(name)
        if attr is None:
            return None
        inode = self._inodes.find(inode_number(attr, directory.path_of(name)))
        return inode if inode is not None and inode.parent is directory else None


def _tell(batch: Sequence[_Told]) -> None:
    """In a thread: each call may wait for the kernel, and does not hold the interpreter."""
    directories = {each.parent for each in batch if each.entry}
    for number in directories:
        _quietly(partial(pyfuse3.invalidate_inode, pyfuse3.InodeT(number), attr_only=True))
    for parent, name, child, entry, pages in batch:
        if entry:
            _quietly(partial(pyfuse3.invalidate_entry, pyfuse3.InodeT(parent), name))
        if child:
            inode = pyfuse3.InodeT(child)
            _quietly(partial(pyfuse3.invalidate_inode, inode, attr_only=not pages))


def _quietly(call: partial[None]) -> None:
    try:
        call()
    except OSError as failed:
        if failed.errno not in _UNKNOWN:
            log.debug("telling the kernel of a change: %s", failed)
