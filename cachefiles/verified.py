"""Which blocks of an open object have proved right since it was opened. Pure.

For ``verify=open``: a block is hashed when it is first read, and again when anything has changed
the backing file since, by whatever: a store, a cull, a hand at the disk. The witness is the
inode's change time, asked before and after the read. A coarse clock may give a change just after a
read the time of one just before it; so, as git does with its index, a block that was read within
``RACY`` of the last change is not remembered.

What this mode cannot see is what changes bytes and no inode: a rotting disk, or memory.
"""

from __future__ import annotations

from collections import OrderedDict
from threading import Lock

RACY = 40_000_000
"""Nanoseconds: ten ticks of a kernel with 250 a second, whose clock stamps inodes."""

_PAGE = 512
_PAGES = 64


class Verified:
    """Bits for at most 64 x 512 blocks (2 GiB) around the readers. Safe for several threads."""

    __slots__ = ("_changed", "_lock", "_pages")

    def __init__(self) -> None:
        self._lock = Lock()
        self._changed = -1
        self._pages: OrderedDict[int, int] = OrderedDict()

    def covers(self, first: int, count: int, changed: int) -> bool:
        """Whether all of these blocks proved right in the state with change time ``changed``."""
        with self._lock:
            if changed != self._changed:
                return False
            return all(
                self._pages.get(page, 0) & mask == mask for page, mask in _masks(first, count)
            )

    def add(self, first: int, count: int, changed: int, when: int) -> None:
        """These blocks proved right as they were read at ``when``, with change time ``changed``
        before and after. Both in ns since the epoch."""
        if when - changed < RACY:
            return
        with self._lock:
            if changed != self._changed:
                self._changed = changed
                self._pages.clear()
            for page, mask in _masks(first, count):
                self._pages[page] = self._pages.pop(page, 0) | mask
            while len(self._pages) > _PAGES:
                self._pages.popitem(last=False)


def _masks(first: int, count: int) -> list[tuple[int, int]]:
    """(page, bits) that stand for ``count`` blocks from ``first`` on."""
    found = []
    end = first + count
    while first < end:
        page, slot = divmod(first, _PAGE)
        here = min(_PAGE - slot, end - first)
        found.append((page, ((1 << here) - 1) << slot))
        first += here
    return found
