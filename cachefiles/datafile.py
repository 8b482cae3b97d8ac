"""The data of one backing file, and which way each transfer of it takes.

A large aligned transfer goes through a second descriptor opened with O_DIRECT: the disk and the
caller's memory, and nothing between. All else takes the first descriptor: tails, small blocks and
targets that are not page-aligned, ``RWF_DONTCACHE`` where large (``transfers.py``). Measured on
ext4 over virtio, Linux 6.18, two cores, 512 MiB in 1 MiB calls, one and three threads, interleaved
(GiB/s; CPU seconds per GiB, without 0.08 of the kernel's writeback for what is not direct):

======================================== ============ =========
way                                      read         write
======================================== ============ =========
plain, fresh page-cache memory           0.3-1.4 0.2  0.3-0.7 1.2-1.9
``RWF_DONTCACHE``                        1.0 0.28-0.45 1.7-1.9 0.37-0.52
O_DIRECT, memory of 4 KiB pages          0.6-1.4 0.10-0.16 1.0-1.3 0.14-0.25
O_DIRECT, memory of 2 MiB pages          1.5 0.07     1.4-1.6 0.08-0.12
======================================== ============ =========

So direct I/O costs a third of the CPU at least, and is faster as well where the caller's memory is
of huge pages (``MADV_HUGEPAGE``): a scattered MiB is 256 segments, more than the 254 that one
request of the device takes.

Coherence. The kernel writes dirty pages of the range back before a direct read, and writes them
back and drops them around a direct write. Where a buffered read races with a direct write it may
see old bytes, which the hash refuses. A direct write returns when its extents are marked as
written, so SEEK_DATA sees it at once.
"""

from __future__ import annotations

import ctypes
from threading import Lock

from cachefiles.backing import Filesystem
from cachefiles.extents import Extent
from cachefiles.transfers import ALIGNMENT

DIRECT_MIN = 256 * 1024
"""Bytes: smaller transfers go through the page cache, where the kernel reads ahead and collects
writes, and where the next small read finds its bytes without a wait. CPU seconds per GiB, direct
and plain: 256 KiB writes 0.3 and 0.4, reads 0.2 and 0.6-1.7; 128 KiB writes 0.6 and 0.4."""

_UNOPENED = -1
_REFUSED = -2


class DataFile:
    """One open backing file; owns its descriptors, of which ``fd`` has the lock.

    Safe to use from several threads.

    Raises ``OSError``. No thread may be inside another method when :meth:`close` is called.
    """

    def __init__(self, filesystem: Filesystem, fd: int) -> None:
        self._filesystem = filesystem
        self.fd = fd
        self._direct_fd = _UNOPENED
        self._lock = Lock()

    def read_into(self, target: memoryview, offset: int) -> int:
        """Fill ``target`` from ``offset`` on; fewer bytes only at the end of the file."""
        done = 0
        while done < len(target):
            rest, at = target[done:], offset + done
            got = None
            part = direct_part(rest, at)
            if part is not None and (fd := self._direct()) is not None:
                got = self._filesystem.read_direct(fd, part, at)
            if got is None:
                got = self._filesystem.read_some(self.fd, rest, at)
            if got == 0:
                break
            done += got
        return done

    def read_now(self, target: memoryview, offset: int) -> bool:
        """Fill ``target`` if that needs no disk and no wait; False: it was not, or not wholly."""
        return self._filesystem.read_now(self.fd, target, offset) == len(target)

    def write_all(self, data: memoryview, offset: int) -> None:
        """Write all of ``data`` at ``offset``."""
        done = 0
        while done < len(data):
            rest, at = data[done:], offset + done
            put = None
            part = direct_part(rest, at)
            if part is not None and (fd := self._direct()) is not None:
                put = self._filesystem.write_direct(fd, part, at)
            if put is None:
                put = self._filesystem.write_some(self.fd, rest, at)
            done += put

    def extents(self, start: int, end: int) -> list[Extent]:
        """Where ``[start, end)`` has data."""
        return self._filesystem.data_extents(self.fd, start, end)

    def is_buried(self) -> bool:
        """Whether the file is buried."""
        return self._filesystem.is_buried(self.fd)

    def changed(self) -> int:
        """The inode's change time, ns since the epoch."""
        return self._filesystem.status(self.fd).st_ctime_ns

    def sync(self) -> None:
        """Wait until the data is on the disk."""
        self._filesystem.sync_data(self.fd)

    def sync_header(self) -> None:
        """Wait until the file's attributes are on the disk, with all else of it."""
        self._filesystem.sync(self.fd)

    def punch(self, start: int, length: int) -> int:
        """Give back the disk's space of ``[start, start + length)``, which reads as zeros then;
        the bytes freed, 0 on a filesystem that cannot."""
        before = self._filesystem.status(self.fd).st_blocks
        if not self._filesystem.punch(self.fd, start, length):
            return 0
        return max(0, before - self._filesystem.status(self.fd).st_blocks) * 512

    def cut(self, size: int) -> int:
        """Cut the file at ``size`` bytes, if it is longer; the bytes freed."""
        before = self._filesystem.status(self.fd)
        if before.st_size <= size:
            return 0
        self._filesystem.truncate(self.fd, size)
        return max(0, before.st_blocks - self._filesystem.status(self.fd).st_blocks) * 512

    def close(self) -> None:
        """Give the descriptors back, the one with the lock last. Never raises."""
        for fd in (self._direct_fd, self.fd):
            if fd >= 0:
                self._filesystem.close(fd)

    def _direct(self) -> int | None:
        """The descriptor for direct transfers; None when there is none to be had."""
        if self._direct_fd == _UNOPENED:
            with self._lock:
                if self._direct_fd == _UNOPENED:
                    opened = self._filesystem.open_direct(self.fd)
                    self._direct_fd = _REFUSED if opened is None else opened
        return self._direct_fd if self._direct_fd >= 0 else None


def direct_part(memory: memoryview, offset: int) -> memoryview | None:
    """What of ``memory``, from its beginning, can go directly to or from ``offset``."""
    length = len(memory) // ALIGNMENT * ALIGNMENT
    if length < DIRECT_MIN or offset % ALIGNMENT or memory.readonly:
        return None  # the address of read-only memory is not to be had; ours is writable
    if ctypes.addressof(ctypes.c_char.from_buffer(memory)) % ALIGNMENT:
        return None
    return memory if length == len(memory) else memory[:length]
