"""The calls that move bytes between memory and the cache's open files, each with its fault hook.

Data goes past the page cache where that can be done: the kernel keeps what programs read in the
pages of the mount already, and filling a cold cache through fresh page-cache memory is 3 to 5 times
slower. Two ways: a descriptor of its own with O_DIRECT (``datafile.py`` says when), and the flag
``RWF_DONTCACHE`` (Linux 6.14). What a kernel or filesystem refuses (tmpfs the flag, some FUSE and
network filesystems O_DIRECT) is asked once and then left alone. Refusals are remembered in
:class:`Transfers`, of which there is one per cache.
"""

from __future__ import annotations

import errno
import os
from collections.abc import Callable

from cachefiles.extents import Extent
from cachefiles.faults import Faults

RWF_DONTCACHE = 0x80
UNCACHED_MIN = 512 * 1024
"""Bytes: smaller transfers go through the page cache. Measured on ext4, Linux 6.18: making and
filling a 4 KiB file takes 6-20 us plainly and 37-77 us with the flag (each such write starts disk
I/O at once), and cold reads in 256 KiB calls run at 1.3-1.5 GiB/s plainly (kernel readahead) and
0.8 with the flag; in 1 MiB calls the flag wins, 1.1 against 0.5-0.8."""

ALIGNMENT = 4096
"""Bytes: of memory, offset and length of a direct transfer. Disks of larger sectors refuse."""

REFUSED = frozenset({errno.EOPNOTSUPP, errno.EINVAL})
"""A call that kernel or filesystem do not know."""

_NO_DIRECT = REFUSED | {errno.ENOENT, errno.EACCES, errno.EPERM, errno.ELOOP}
"""Opening again through /proc: the filesystem refuses O_DIRECT, or there is no /proc to be used."""


class Transfers:
    """The calls on the bytes of open files. Safe to use from several threads. Raises ``OSError``.

    ``faults`` hears of each call before it is made.
    """

    def __init__(self, faults: Faults | None = None) -> None:
        self._faults = faults
        self._uncached_read = True
        self._uncached_write = True
        self._direct = True
        self._nowait = True

    def _enter(self, call: str, length: int = 0) -> int:
        return length if self._faults is None else self._faults.enter(call, length)

    def open_direct(self, fd: int) -> int | None:
        """A second descriptor, with O_DIRECT, of the file open as ``fd``; None: do without.

        Through /proc and not by name: the name may belong to another file by now.
        """
        if not self._direct:
            return None
        try:
            self._enter("open")
            return os.open(f"/proc/self/fd/{fd}", os.O_RDWR | os.O_CLOEXEC | os.O_DIRECT)
        except OSError as error:
            if error.errno in _NO_DIRECT:
                self._direct = False
            return None  # whatever it is, the file is open already and can be used as it is

    def read_some(self, fd: int, target: memoryview, offset: int) -> int:
        """One call; 0 at the end of the file, fewer bytes than asked need not mean it."""
        view = target[: self._enter("preadv", len(target))]

        def transfer(flags: int) -> int:
            return os.preadv(fd, [view], offset, flags)

        if self._uncached_read and len(target) >= UNCACHED_MIN:
            got = _if_taken(transfer)
            if got is not None:
                return got
            self._uncached_read = False
        return transfer(0)

    def read_direct(self, fd: int, target: memoryview, offset: int) -> int | None:
        """As :meth:`read_some`, on a descriptor of :meth:`open_direct` and with everything aligned.

        None when direct transfers are refused, which is remembered: take the other descriptor.
        """
        return self._if_direct("preadv", os.preadv, fd, target, offset)

    def read_now(self, fd: int, target: memoryview, offset: int) -> int:
        """What of ``target`` can be read without waiting for a disk; 0 for nothing or an error."""
        if not self._nowait:
            return 0
        try:
            view = target[: self._enter("preadv", len(target))]
            return os.preadv(fd, [view], offset, os.RWF_NOWAIT)
        except OSError as error:
            if error.errno in REFUSED:
                self._nowait = False
            return 0

    def write_all(self, fd: int, data: memoryview | bytes, offset: int) -> None:
        """Write all of ``data`` at ``offset``."""
        view = memoryview(data)
        done = 0
        while done < len(view):
            done += self.write_some(fd, view[done:], offset + done)

    def write_some(self, fd: int, data: memoryview, offset: int) -> int:
        """One call, of which the rest may be left to do."""
        view = data[: self._enter("pwritev", len(data))]

        def transfer(flags: int) -> int:
            return os.pwritev(fd, [view], offset, flags)

        if self._uncached_write and len(data) >= UNCACHED_MIN:
            put = _if_taken(transfer)
            if put is not None:
                return put
            self._uncached_write = False
        return transfer(0)

    def write_direct(self, fd: int, data: memoryview, offset: int) -> int | None:
        """As :meth:`write_some`, on a descriptor of :meth:`open_direct`, everything aligned.

        None when direct transfers are refused, which is remembered: take the other descriptor.
        """
        return self._if_direct("pwritev", os.pwritev, fd, data, offset)

    def data_extents(self, fd: int, start: int, end: int) -> list[Extent]:
        """Where ``[start, end)`` has data: SEEK_DATA and SEEK_HOLE, two calls an extent."""
        found: list[Extent] = []
        while start < end:
            self._enter("lseek")
            try:
                data = os.lseek(fd, start, os.SEEK_DATA)
            except OSError as error:
                if error.errno == errno.ENXIO:  # no data from here to the end of the file
                    break
                raise
            if data >= end:
                break
            self._enter("lseek")
            hole = os.lseek(fd, data, os.SEEK_HOLE)
            if hole <= data:  # nonsense from a filesystem; do not go round for ever
                break
            found.append((data, min(hole, end)))
            start = hole
        return found

    def _if_direct(
        self,
        name: str,
        call: Callable[[int, list[memoryview], int], int],
        fd: int,
        memory: memoryview,
        offset: int,
    ) -> int | None:
        if not self._direct:
            return None
        allowed = self._enter(name, len(memory)) // ALIGNMENT * ALIGNMENT
        if not allowed:
            return None
        try:
            return call(fd, [memory[:allowed]], offset)
        except OSError as error:
            if error.errno in REFUSED:
                self._direct = False
                return None
            raise


def _if_taken(transfer: Callable[[int], int]) -> int | None:
    """``transfer`` past the page cache; None when kernel or filesystem refuse the flag."""
    try:
        return transfer(RWF_DONTCACHE)
    except OSError as error:
        if error.errno in REFUSED:
            return None
        raise
