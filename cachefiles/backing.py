"""The calls on the filesystem below a cache: names, attributes, locks, holes, syncs.

Each has its fault hook. Raises ``OSError`` and nothing else.
"""

from __future__ import annotations

import ctypes
import errno
import fcntl
import os
import stat
import time
from contextlib import suppress

from cachefiles.limits import Disk
from cachefiles.transfers import REFUSED, Transfers

_LIBC = ctypes.CDLL(None, use_errno=True)
_LIBC.fallocate.argtypes = [ctypes.c_int, ctypes.c_int, ctypes.c_int64, ctypes.c_int64]
_PUNCH_KEEP_SIZE = 3  # FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE

_OPEN = os.O_RDWR | os.O_CLOEXEC | os.O_NOFOLLOW


class Filesystem(Transfers):
    """The filesystem below one cache. Safe to use from several threads. Raises ``OSError``.

    Paths are relative to ``dir_fd``. Files are made 0600, folders 0700.
    """

    def open(self, path: str, dir_fd: int) -> int:
        """Open an existing file for reading and writing; never through a symlink."""
        self._enter("open")
        return os.open(path, _OPEN, dir_fd=dir_fd)

    def create(self, path: str, dir_fd: int, *, exclusive: bool = True) -> int:
        """Make a file; with ``exclusive`` it must not exist."""
        self._enter("create")
        flags = _OPEN | os.O_CREAT | (os.O_EXCL if exclusive else 0)
        return os.open(path, flags, 0o600, dir_fd=dir_fd)

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
        """Lock the open file, or change its lock; False when another opening's is in the way.

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
        """Whether the open file is buried: it is marked so, or has no name."""
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
        if code in REFUSED or code == errno.ENOSYS:
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
