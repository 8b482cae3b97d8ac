"""A FUSE filesystem of one file, ``image``, that forgets at a power loss what was not synced.

``python -m tests.support.power_image BACKING MOUNTPOINT``. Writes go to memory until FSYNC, which
the loop device sends for a flush, copies them to BACKING. After SIGUSR1 every request fails with
EIO: the power is off, and nothing that is still in memory reaches BACKING.
"""

from __future__ import annotations

import errno
import os
import signal
import stat
import sys

import pyfuse3
import trio

PAGE = 4096
IMAGE = pyfuse3.InodeT(2)


class PowerImage(pyfuse3.Operations):
    """``backing`` is open for reading and writing; its size is the image's."""

    def __init__(self, backing: int) -> None:
        super().__init__()
        self.off = False
        self._backing = backing
        self._size = os.fstat(backing).st_size
        self._memory = os.memfd_create("overlay")
        os.ftruncate(self._memory, self._size)
        self._dirty = bytearray(-(-self._size // PAGE))

    def _runs(self, first: int, last: int):
        """(in memory?, first page, page after the last) that together make up a range."""
        dirty = self._dirty
        while first < last:
            here = dirty[first]
            end = dirty.find(0 if here else 1, first, last)
            end = last if end < 0 else end
            yield bool(here), first, end
            first = end

    async def getattr(self, inode, ctx=None):
        entry = pyfuse3.EntryAttributes()
        entry.st_ino = inode
        entry.st_mode = (
            stat.S_IFDIR | 0o755 if inode == pyfuse3.ROOT_INODE else stat.S_IFREG | 0o600
        )
        entry.st_size = 0 if inode == pyfuse3.ROOT_INODE else self._size
        entry.st_nlink = 1
        entry.attr_timeout = entry.entry_timeout = 3600
        return entry

    async def setattr(self, inode, attr, fields, fh, ctx):
        return await self.getattr(inode)

    async def lookup(self, parent_inode, name, ctx=None):
        if name != b"image":
            raise pyfuse3.FUSEError(errno.ENOENT)
        return await self.getattr(IMAGE)

    async def open(self, inode, flags, ctx):
        return pyfuse3.FileInfo(fh=pyfuse3.FileHandleT(inode))

    async def read(self, fh, off, size):
        self._require_power()
        size = min(size, self._size - off)
        parts = []
        for inside, first, last in self._runs(off // PAGE, -(-(off + size) // PAGE)):
            start, end = max(off, first * PAGE), min(off + size, last * PAGE)
            parts.append(os.pread(self._memory if inside else self._backing, end - start, start))
        return b"".join(parts)

    async def write(self, fh, off, buf):
        self._require_power()
        first, last = off // PAGE, -(-(off + len(buf)) // PAGE)
        for page in {first, last - 1}:  # one that is written in part keeps the rest
            if not self._dirty[page]:
                os.pwrite(self._memory, os.pread(self._backing, PAGE, page * PAGE), page * PAGE)
        os.pwrite(self._memory, buf, off)
        self._dirty[first:last] = b"\1" * (last - first)
        return len(buf)

    async def fsync(self, fh, datasync):
        self._require_power()
        for inside, first, last in self._runs(0, len(self._dirty)):
            if inside:
                for page in range(first, last, 256):
                    end = min(page + 256, last)
                    piece = os.pread(self._memory, (end - page) * PAGE, page * PAGE)
                    os.pwrite(self._backing, piece, page * PAGE)
        self._dirty = bytearray(len(self._dirty))

    async def flush(self, fh):
        pass

    async def release(self, fh):
        pass

    def _require_power(self) -> None:
        if self.off:
            raise pyfuse3.FUSEError(errno.EIO)


async def serve(image: PowerImage) -> None:
    """Until unmounted."""
    async with trio.open_nursery() as nursery:

        async def wait_off():
            with trio.open_signal_receiver(signal.SIGUSR1) as signals:
                async for _ in signals:
                    image.off = True
                    print("off", flush=True)

        nursery.start_soon(wait_off)
        await pyfuse3.main()
        nursery.cancel_scope.cancel()


def main() -> None:
    """Mount and serve."""
    backing, mountpoint = sys.argv[1:]
    image = PowerImage(os.open(backing, os.O_RDWR))
    pyfuse3.init(image, mountpoint, {"fsname=power-image"})
    try:
        print("ready", flush=True)
        trio.run(serve, image)
    finally:
        pyfuse3.close(unmount=True)


if __name__ == "__main__":
    main()
