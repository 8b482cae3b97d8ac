"""A tiny pyfuse3 file system in which readers die at the worst of moments.

Run as ``python -m tests.support.torture_freeze MOUNTPOINT TICKER CURE MOMENT ROUNDS``. In each
round one reader is started, and it is killed in its ``open`` by this very process, while no other
step of the loop can run. In its open, because a process that dies in its read closes the file as
it goes, and that FLUSH would wake the loop up again; after an open nothing comes at all:

* MOMENT ``before-poll``: after epoll said that /dev/fuse is readable, before anything else;
* MOMENT ``before-read``: after all that is to look once more has looked, right before the read.

CURE is ``cured`` or ``bare``. Prints one line of JSON when all rounds are over.
"""

from __future__ import annotations

import contextlib
import errno
import json
import os
import signal
import stat
import subprocess
import sys
import time
from collections.abc import Awaitable, Callable
from pathlib import Path

import pyfuse3
import trio

from netfsfuse.fuse.backlog import Backlog
from netfsfuse.fuse.readable import FuseReadable
from netfsfuse.fuse.session import _fuse_descriptors
from netfsfuse.fuse.workers import Workers, installed, session_loop
from tests.support.torture_ticker import BEAT, Ticker

Wait = Callable[[], Awaitable[bool]]
_FILE = 2
_SIZE = 1 << 20
_DEATH_SECONDS = 5.0
_SLEEP_SECONDS = 0.05  # from sending a request to sleeping until it is answered


class OneFile(pyfuse3.Operations):
    """A root with one file of zeros, names and attributes of which the kernel keeps for ever."""

    async def getattr(self, inode, ctx=None):
        entry = pyfuse3.EntryAttributes()
        entry.st_ino = inode
        entry.st_mode = (
            stat.S_IFDIR | 0o755 if inode == pyfuse3.ROOT_INODE else stat.S_IFREG | 0o644
        )
        entry.st_size = _SIZE
        entry.attr_timeout = entry.entry_timeout = 1e6
        return entry

    async def lookup(self, parent_inode, name, ctx=None):
        if name != b"file":
            raise pyfuse3.FUSEError(errno.ENOENT)
        return await self.getattr(pyfuse3.InodeT(_FILE))

    async def open(self, inode, flags, ctx):
        return pyfuse3.FileInfo(fh=pyfuse3.FileHandleT(1))

    async def read(self, fh, off, size):
        return bytes(min(size, _SIZE - off))


class Killer:
    """Kills the reader of the round at the moment that was chosen, once a round."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._victim: subprocess.Popen[bytes] | None = None
        self.killed = 0

    def start(self) -> None:
        """Start the reader of the next round."""
        self._victim = subprocess.Popen(
            ["cat", self._path], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
        )

    def strike(self) -> None:
        """Kill the reader if it is its open that waits, and see it dead."""
        victim = self._victim
        if victim is None or not _is_opening(victim.pid):
            return
        os.kill(victim.pid, signal.SIGKILL)
        deadline = time.monotonic() + _DEATH_SECONDS
        while _state(victim.pid) not in "ZX" and time.monotonic() < deadline:
            os.sched_yield()
        self._victim = None
        self.killed += 1
        victim.wait()

    async def over(self) -> None:
        """Return when the reader is gone, in which way ever."""
        victim = self._victim
        while victim is not None and victim.poll() is None:
            await trio.sleep(0.002)
        self._victim = None


def _state(pid: int) -> str:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except OSError:
        return "X"


def _is_opening(pid: int) -> bool:
    """Whether the process waits in openat(2): system call 257 on x86-64, 56 on newer machines."""
    deadline = time.monotonic() + _SLEEP_SECONDS
    number = "running"
    while number == "running" and time.monotonic() < deadline:  # its request is out already
        try:
            number = Path(f"/proc/{pid}/syscall").read_text().split()[0]
        except OSError:
            return False
    return number in ("257", "56")


def striking(wait: Wait, strike: Callable[[], None]) -> Wait:
    """``wait``, with the reader killed in the moment in which it says "readable"."""

    async def wait_readable() -> bool:
        readable = await wait()
        if readable:
            strike()
        return readable

    return wait_readable


class Struck(FuseReadable):
    """The product's own, with the reader killed at the ``moment``."""

    def __init__(self, descriptor: int, moment: str, strike: Callable[[], None]) -> None:
        super().__init__(descriptor)
        self._moment = moment
        self._strike = strike

    async def wait(self) -> None:
        await super().wait()
        if self._moment == "before-poll":
            self._strike()

    def now(self) -> bool:
        found = super().now()
        if found and self._moment == "before-read":
            self._strike()
        return found


async def torture(mountpoint: Path, ticker: Ticker, moment: str, cured: bool, rounds: int) -> None:
    """Serve the mounted session and kill ``rounds`` readers."""
    killer = Killer(mountpoint / "file")
    (descriptor,) = _fuse_descriptors()
    serve: Callable[[], Awaitable[None]] = pyfuse3.main
    with contextlib.ExitStack() as stack:
        if cured:
            readable = Struck(descriptor, moment, killer.strike)
            workers = Workers(readable, Backlog(), session_loop)
            stack.enter_context(readable.rescued())
            stack.enter_context(installed(workers))
            serve = workers.run
        else:
            pyfuse3._wait_fuse_readable = striking(pyfuse3._wait_fuse_readable, killer.strike)
        async with trio.open_nursery() as nursery:
            nursery.start_soon(serve)
            nursery.start_soon(ticker.run)
            while not ticker.beats:
                await trio.sleep(BEAT)
            for _ in range(rounds):
                killer.start()
                await killer.over()
            nursery.cancel_scope.cancel()
    print(json.dumps({"killed": killer.killed, "beats": ticker.beats}), flush=True)


def main() -> None:
    """See the module."""
    mountpoint, ticker, cure, moment, rounds = sys.argv[1:]
    pyfuse3.init(OneFile(), mountpoint, {"fsname=torture", "subtype=netfsfuse"})
    try:
        trio.run(
            torture, Path(mountpoint), Ticker(Path(ticker)), moment, cure == "cured", int(rounds)
        )
    finally:
        pyfuse3.close(unmount=True)


if __name__ == "__main__":
    main()
