"""FileAttr -> EntryAttributes, VolumeStat -> StatvfsData."""

from __future__ import annotations

import stat

import pyfuse3

from netfsfuse.config import ShownConfig
from netfsfuse.types import NO_TIME, FileKind, VolumeStat
from netfsfuse.vfs.inodes.inodes import Inode

BLKSIZE = 1024 * 1024
"""st_blksize, bytes: cp and cat take it as their buffer size and so read in large pieces."""

DIRECTORY_BLKSIZE = 32 * 1024
"""The same of a directory: readdir(3) takes it as its buffer size, and returns the first entry when
that is full. With 1 MiB the first of 10,000 names came after 190 ms."""

_WRITE_BITS = 0o222


def mode_of(inode: Inode, shown: ShownConfig) -> int:
    """st_mode: type and permission bits. As with cifs, the read-only flag takes w away."""
    if inode.kind is FileKind.DIRECTORY:
        return stat.S_IFDIR | shown.dir_mode
    if inode.kind is FileKind.SYMLINK:
        return stat.S_IFLNK | 0o777
    mode = shown.file_mode
    if inode.attr.is_read_only:
        mode &= ~_WRITE_BITS
    return stat.S_IFREG | mode


def entry_of(inode: Inode, shown: ShownConfig, seconds: float) -> pyfuse3.EntryAttributes:
    """All that the kernel wants to know of an inode, and may believe for ``seconds``."""
    attr = inode.attr
    entry = pyfuse3.EntryAttributes()
    entry.st_ino = pyfuse3.InodeT(inode.number)
    entry.generation = inode.generation
    entry.entry_timeout = seconds
    entry.attr_timeout = seconds
    entry.st_mode = pyfuse3.ModeT(mode_of(inode, shown))
    entry.st_nlink = 2 if inode.kind is FileKind.DIRECTORY else 1
    entry.st_uid = shown.uid
    entry.st_gid = shown.gid
    entry.st_rdev = 0
    if inode.target is None:
        entry.st_size = attr.size
        entry.st_blocks = -(-attr.allocation // 512)
    else:
        entry.st_size = len(encode_target(inode.target))
        entry.st_blocks = 0
    entry.st_blksize = BLKSIZE if inode.kind is not FileKind.DIRECTORY else DIRECTORY_BLKSIZE
    entry.st_atime_ns = attr.access if attr.access != NO_TIME else 0
    entry.st_mtime_ns = attr.write if attr.write != NO_TIME else 0
    entry.st_ctime_ns = attr.change if attr.change != NO_TIME else entry.st_mtime_ns
    return entry


def negative_entry(seconds: float) -> pyfuse3.EntryAttributes:
    """ "There is no such name", which the kernel may remember for ``seconds``."""
    entry = pyfuse3.EntryAttributes()
    entry.st_ino = pyfuse3.InodeT(0)
    entry.entry_timeout = seconds
    return entry


def statvfs_of(volume: VolumeStat) -> pyfuse3.StatvfsData:
    """The server's figures in the server's unit. Programs multiply by one of the two sizes, which
    are the same on local disks, and so do they here."""
    data = pyfuse3.StatvfsData()
    data.f_bsize = volume.unit
    data.f_frsize = volume.unit
    data.f_blocks = volume.total
    data.f_bfree = volume.free
    data.f_bavail = volume.available
    data.f_namemax = 255
    return data


def encode_name(name: str) -> bytes:
    """A name for the kernel: UTF-8, lone surrogates of the server's included."""
    return name.encode("utf-8", "surrogatepass")


def encode_target(target: str) -> bytes:
    """A symlink's target for the kernel: the very bytes that an mfsymlink holds."""
    try:
        return target.encode("utf-8", "surrogateescape")
    except UnicodeEncodeError:
        return target.encode("utf-8", "surrogatepass")
