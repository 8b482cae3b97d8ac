"""The syscalls of the cache, each with its fault hook. Raises ``OSError`` and nothing else.

Data goes past the page cache where that can be done: the kernel keeps what programs read in the
pages of the mount already, and filling a cold cache through fresh page-cache memory is 3 to 5 times
slower. Two ways: a descriptor of its own with O_DIRECT (``datafile.py`` says when), and the flag
``RWF_DONTCACHE`` (Linux 6.14). What a kernel or filesystem refuses (tmpfs the flag, some FUSE and
network filesystems O_DIRECT) is asked once and then left alone. Refusals are remembered in
:class:`Filesystem`, of which there is one per cache.
"""

from __future__ import annotations

import ctypes
import errno
import fcntl
import os
import stat
import time
from collections.abc import Callable
from contextlib import suppress

from cachefiles.extents import Extent
from cachefiles.faults import Faults
from cachefiles.limits import Disk

RWF_DONTCACHE = 0x80
UNCACHED_MIN = 512 * 1024
"""Bytes: smaller transfers go through the page cache. Measured on ext4, Linux 6.18: making and
filling a 4 KiB file takes 6-20 us plainly and 37-77 us with the flag (each such write starts disk
I/O at once), and cold reads in 256 KiB calls run at 1.3-1.5 GiB/s plainly (kernel readahead) and
0.8 with the flag; in 1 MiB calls the flag wins, 1.1 against 0.5-0.8."""

ALIGNMENT = 4096
"""Bytes: of memory, offset and length of a direct transfer. Disks of larger sectors refuse."""

_LIBC = ctypes.CDLL(None, use_errno=True)
_LIBC.fallocate.argtypes = [ctypes.c_int, ctypes.c_int, ctypes.c_int64, ctypes.c_int64]
_PUNCH_KEEP_SIZE = 3  # FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE

_OPEN = os.O_RDWR | os.O_CLOEXEC | os.O_NOFOLLOW
_REFUSED = frozenset({errno.EOPNOTSUPP, errno.EINVAL})
_NO_DIRECT = _REFUSED | {errno.ENOENT, errno.EACCES, errno.EPERM, errno.ELOOP}
"""Opening again through /proc: the filesystem refuses O_DIRECT, or there is no /proc to be used."""


class Filesystem:
    """The filesystem below one cache. Safe to use from several threads.

    Paths are relative to ``dir_fd``. Files are made 0600, folders 0700.
    """

    def __init__(self, faults: Faults | None = None) -> None:
        self._faults = faults
        self._uncached_read = True
        self._uncached_write = True
        self._direct = True
        self._nowait = True

    def _enter(self, call: str, length: int = 0) -> int:
        return length if self._faults is None else self._faults.enter(call, length)

    def open(self, path: str, dir_fd: int) -> int:
        """Open an existing file for reading and writing; never through a symlink."""
        self._enter("open")
        return os.open(path, _OPEN, dir_fd=dir_fd)

    def create(self, path: str, dir_fd: int, *, exclusive: bool = True) -> int:
        """Make a file; with ``exclusive`` it must not exist."""
        self._enter("create")
        flags = _OPEN | os.O_CREAT | (os.O_EXCL if exclusive else 0)
        return os.open(path, flags, 0o600, dir_fd=dir_fd)

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

    def open_own(self, path: str, dir_fd: int, *, create: bool = False) -> int:
        """Open a file of the cache's own, of which there is one; with ``create`` make it if it is
        missing. Whatever else has its name, a link, a pipe, a device, is refused without a wait.
        """
        self._enter("open")
        flags = _OPEN | os.O_NONBLOCK | (os.O_CREAT if create else 0)
        fd = os.open(path, flags, 0o600, dir_fd=dir_fd)
        try:
            if not stat.S_ISREG(self.status(fd).st_mode):
                raise OSError(errno.EINVAL, f"{path} is no regular file")
        except BaseException:
            os.close(fd)
            raise
        return fd

    def open_folder(self, path: str, dir_fd: int | None = None) -> int:
        """Open a folder, to be the ``dir_fd`` of other calls; below another never through a
        symlink."""
        self._enter("open")
        flags = os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC
        if dir_fd is not None:
            flags |= os.O_NOFOLLOW
        return os.open(path, flags, dir_fd=dir_fd)

    def make_folder(self, path: str, dir_fd: int) -> None:
        """Make a folder unless it is there."""
        self._enter("mkdir")
        try:
            os.mkdir(path, 0o700, dir_fd=dir_fd)
        except FileExistsError:
            return

    def unlink(self, path: str, dir_fd: int) -> bool:
        """Remove a file; False when there was none."""
        self._enter("unlink")
        try:
            os.unlink(path, dir_fd=dir_fd)
        except FileNotFoundError:
            return False
        return True

    def rename(self, old: str, new: str, dir_fd: int) -> None:
        """Rename within one folder, replacing."""
        self._enter("rename")
        os.rename(old, new, src_dir_fd=dir_fd, dst_dir_fd=dir_fd)

    def move(self, old: str, old_folder: int, new: str, new_folder: int) -> None:
        """Rename from one folder to another, replacing."""
        self._enter("rename")
        os.rename(old, new, src_dir_fd=old_folder, dst_dir_fd=new_folder)

    def remove_folder(self, path: str, dir_fd: int) -> None:
        """Remove a folder; an error unless it is empty."""
        self._enter("rmdir")
        os.rmdir(path, dir_fd=dir_fd)

    def get_xattr(self, fd: int, name: str) -> bytes | None:
        """The attribute's value, or None when the file has none of that name."""
        self._enter("getxattr")
        try:
            return os.getxattr(fd, name)
        except OSError as error:
            if error.errno == errno.ENODATA:
                return None
            raise

    def set_xattr(self, fd: int, name: str, value: bytes) -> None:
        """Set an attribute; a crash leaves the old or the new value."""
        self._enter("setxattr")
        os.setxattr(fd, name, value)

    def truncate(self, fd: int, size: int) -> None:
        """Set the file's size; what is new is a hole."""
        self._enter("ftruncate")
        os.ftruncate(fd, size)

    def lock(self, fd: int, *, shared: bool = False) -> bool:
        """Lock the open file, or change its lock; False when somebody else's is in the way.

        The lock is of this opening of the file and goes with it, also when the process is killed.
        """
        self._enter("flock")
        try:
            fcntl.flock(fd, (fcntl.LOCK_SH if shared else fcntl.LOCK_EX) | fcntl.LOCK_NB)
        except BlockingIOError:
            return False
        return True

    def unlock(self, fd: int) -> None:
        """Give a lock back. Never raises."""
        with suppress(OSError):
            fcntl.flock(fd, fcntl.LOCK_UN)

    def status(self, fd: int) -> os.stat_result:
        """What the inode says of the open file."""
        self._enter("fstat")
        return os.fstat(fd)

    def is_buried(self, fd: int) -> bool:
        """Whether somebody buried the open file: it is marked so, or has no name."""
        about = self.status(fd)
        return about.st_nlink == 0 or bool(about.st_mode & stat.S_ISVTX)

    def mark_buried(self, fd: int) -> None:
        """Let :meth:`is_buried` say so: the sticky bit, which means nothing on a file."""
        mode = stat.S_IMODE(self.status(fd).st_mode)
        if not mode & stat.S_ISVTX:
            self._enter("fchmod")
            os.fchmod(fd, mode | stat.S_ISVTX)

    def mode(self, path: str, dir_fd: int) -> int | None:
        """Kind and permissions of ``path``, of a symlink its own; None when there is nothing."""
        self._enter("stat")
        try:
            return os.stat(path, dir_fd=dir_fd, follow_symlinks=False).st_mode
        except FileNotFoundError:
            return None

    def allocated(self, path: str, dir_fd: int) -> int:
        """Bytes on disk of the file ``path``; 0 when there is none."""
        self._enter("stat")
        try:
            return os.stat(path, dir_fd=dir_fd, follow_symlinks=False).st_blocks * 512
        except FileNotFoundError:
            return 0

    def set_used(self, fd: int, when: int) -> None:
        """Note that the file was used at ``when``, ns since the epoch: in its access time."""
        self._enter("utimensat")
        os.utime(fd, ns=(when, when))

    def exists(self, path: str, dir_fd: int) -> bool:
        """Whether there is anything of that name."""
        return self.mode(path, dir_fd) is not None

    def touch(self, path: str, dir_fd: int) -> None:
        """As :meth:`set_used`, now, for a file that is not open."""
        self._enter("utimensat")
        now = time.time_ns()
        os.utime(path, ns=(now, now), dir_fd=dir_fd, follow_symlinks=False)

    def space(self, fd: int) -> Disk:
        """How full the filesystem is that holds ``fd``."""
        self._enter("fstatvfs")
        about = os.fstatvfs(fd)
        unit = about.f_frsize
        return Disk(about.f_blocks * unit, about.f_bavail * unit, about.f_files, about.f_favail)

    def punch(self, fd: int, start: int, length: int) -> bool:
        """Make a hole; False where the filesystem makes none."""
        self._enter("fallocate")
        if _LIBC.fallocate(fd, _PUNCH_KEEP_SIZE, start, length) == 0:
            return True
        code = ctypes.get_errno()
        if code in _REFUSED or code == errno.ENOSYS:
            return False
        raise OSError(code, os.strerror(code))

    def sync(self, fd: int) -> None:
        """Wait until the file is on the disk."""
        self._enter("fsync")
        os.fsync(fd)

    def sync_data(self, fd: int) -> None:
        """Wait until the file's bytes, and what it takes to find them, are on the disk."""
        self._enter("fdatasync")
        os.fdatasync(fd)

    def sync_all(self, fd: int) -> None:
        """Wait until everything of the filesystem that holds ``fd`` is on the disk."""
        self._enter("syncfs")
        if _LIBC.syncfs(fd) != 0:
            code = ctypes.get_errno()
            raise OSError(code, os.strerror(code))

    def close(self, fd: int) -> None:
        """Give a descriptor back. An error here says nothing about what was promised: ignored."""
        with suppress(OSError):
            self._enter("close")
        with suppress(OSError):
            os.close(fd)

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
            if error.errno in _REFUSED:
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
        """As :meth:`write_some`, direct; see :meth:`read_direct`."""
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
            if error.errno in _REFUSED:
                self._direct = False
                return None
            raise


def _if_taken(transfer: Callable[[int], int]) -> int | None:
    """``transfer`` past the page cache; None when kernel or filesystem refuse the flag."""
    try:
        return transfer(RWF_DONTCACHE)
    except OSError as error:
        if error.errno in _REFUSED:
            return None
        raise
