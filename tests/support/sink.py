"""A mount of files that swallow what is written, by the product's own FUSE session.

Run as ``python -m tests.support.sink MOUNTPOINT FULL [OPTION...]``: ``FULL`` is the backlog's bound
in bytes. Options: ``plain`` adds no flags to INIT, ``slow`` ends one write in 3 ms, ``shut`` none
before the name ``open`` is looked up. Every other name but ``never`` is a file; those that are
opened for writing alone bypass the kernel's pages, as the product's do. ``ready`` is printed once
it is mounted, and when it was unmounted its counters as JSON.
"""

from __future__ import annotations

import errno
import json
import os
import stat
import sys
from pathlib import Path
from typing import Any

import pyfuse3
import trio
from pyfuse3 import FileInfo

from netfsfuse.config import MountConfig, ServerConfig
from netfsfuse.ending import Ending
from netfsfuse.fuse import session
from netfsfuse.fuse.backlog import Backlog, counted
from netfsfuse.fuse.deadlines import Deadlines
from netfsfuse.stats import Stats
from netfsfuse.tasks import ServiceNursery

_FIRST = 10
_WRITE_SECONDS = 0.003


class Sink(pyfuse3.Operations):
    """Files without content, of the size that was written."""

    def __init__(self, full: int, options: set[str]) -> None:
        super().__init__()
        self.stats = Stats()
        self.deadlines = Deadlines(30.0)
        self.backlog = Backlog(full)
        self.counters = {"getxattr": 0, "writes": 0, "held_peak": 0}
        self._numbers: dict[bytes, int] = {}
        self._sizes: dict[int, int] = {}
        self._options = options
        self._lock = trio.Lock()
        self._open = trio.Event()

    def _attributes(self, number: int) -> pyfuse3.EntryAttributes:
        entry = pyfuse3.EntryAttributes()
        entry.st_ino = number
        entry.st_mode = stat.S_IFREG | 0o666 if number >= _FIRST else stat.S_IFDIR | 0o777
        entry.st_nlink = 1
        entry.st_size = self._sizes.get(number, 0)
        entry.attr_timeout = entry.entry_timeout = 60
        return entry

    async def lookup(self, parent_inode: int, name: bytes, ctx: Any) -> pyfuse3.EntryAttributes:
        if name == b"open":
            self._open.set()
        if name in (b"open", b"never"):
            raise pyfuse3.FUSEError(errno.ENOENT)
        return self._attributes(self._numbers.setdefault(name, _FIRST + len(self._numbers)))

    async def getattr(self, inode: int, ctx: Any) -> pyfuse3.EntryAttributes:
        return self._attributes(inode)

    async def getxattr(self, inode: int, name: bytes, ctx: Any) -> bytes:
        self.counters["getxattr"] += 1
        raise pyfuse3.FUSEError(errno.EOPNOTSUPP)

    async def open(self, inode: Any, flags: int, ctx: Any) -> FileInfo:
        return FileInfo(fh=inode, direct_io=flags & os.O_ACCMODE == os.O_WRONLY)

    async def flush(self, fh: int) -> None:
        pass

    @counted
    async def write(self, fh: int, off: int, buf: bytes) -> int:
        self.counters["writes"] += 1
        self.counters["held_peak"] = max(self.backlog.held, self.counters["held_peak"])
        if "shut" in self._options:
            await self._open.wait()
        if "slow" in self._options:
            async with self._lock:
                await trio.sleep(_WRITE_SECONDS)
        self._sizes[fh] = max(self._sizes.get(fh, 0), off + len(buf))
        return len(buf)

    async def statfs(self, ctx: Any) -> pyfuse3.StatvfsData:
        return pyfuse3.StatvfsData()


class NoNews:
    """In the notifier's place."""

    async def run(self) -> None:
        """Tell nothing."""
        await trio.sleep_forever()

    async def stop(self) -> None:
        """There is nothing to stop."""


async def serve(mountpoint: Path, sink: Sink, *, read_only: bool) -> None:
    """Until it is unmounted."""
    config = MountConfig("//sink/sink", mountpoint, ServerConfig("sink", "sink"))
    if read_only:  # to the flags of INIT, and not to the kernel
        session.init_flags = lambda _config: 0
    async with trio.open_nursery() as nursery:
        service = ServiceNursery(nursery)
        async with session.mounted(sink, config, service, NoNews(), Ending()) as fuse:  # type: ignore[arg-type]
            await fuse.wait_answering()
            print("ready", flush=True)
            await fuse.wait_ended()
        nursery.cancel_scope.cancel()


def main() -> None:
    """See the module."""
    mountpoint, full, *options = sys.argv[1:]
    sink = Sink(int(full), set(options))
    trio.run(lambda: serve(Path(mountpoint), sink, read_only="plain" in options))
    status = Path("/proc/self/status").read_text()
    (peak,) = [int(line.split()[1]) for line in status.splitlines() if line.startswith("VmHWM")]
    print(json.dumps(sink.counters | {"rss_peak": peak * 1024}), flush=True)


if __name__ == "__main__":
    main()
