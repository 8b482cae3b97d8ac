"""Reading trees of a mount into its cache, many files at once: what ``netfsfuse warm`` does.

Reads go through the mount, whose readahead keeps many requests in flight for each file; ``JOBS``
files at a time also fill the link where files are small. What is whole in the cache already is not
read again, so an interrupted run goes on where it was.
"""

from __future__ import annotations

import errno
import json
import math
import os
import stat
import time
from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Protocol

import trio

from netfsfuse.fscache.backing import BackingFile
from netfsfuse.stats import OBJECT_XATTR

_CHUNK = 4 * 1024 * 1024
_STORED_TIMEOUT = 5.0  # seconds for the stores behind the reader to be done
_SETTLED = 2.2  # seconds after which a file that has just changed is cached


@dataclass(slots=True)
class Outcome:
    """What a run came to: files and bytes, and the lines about what failed."""

    files: int = 0
    read: int = 0
    present: int = 0
    pinned: int = 0
    failures: list[str] = field(default_factory=list)


class Watcher(Protocol):
    """Told of progress, on the loop."""

    def found(self, total: int) -> None:
        """``total`` bytes of files were found so far."""
        ...

    def done(self, size: int) -> None:
        """A file of ``size`` bytes is done."""
        ...


def warm(paths: Sequence[str], jobs: int, watcher: Watcher, *, pin: bool) -> Outcome:
    """Read everything at and below ``paths``, ``jobs`` files at a time. Blocking."""
    warming = _Warming(watcher, pin)
    trio.run(warming.run, paths, jobs)
    return warming.outcome


class _Warming:
    """One run. Only the loop touches ``outcome`` and the watcher."""

    def __init__(self, watcher: Watcher, pin: bool) -> None:
        self.outcome = Outcome()
        self._watcher = watcher
        self._pin = pin
        self._total = 0

    async def run(self, paths: Sequence[str], jobs: int) -> None:
        """Warm everything below ``paths``, ``jobs`` files at a time."""
        limiter = trio.CapacityLimiter(jobs)
        send, receive = trio.open_memory_channel[tuple[str, int]](4 * jobs)
        async with trio.open_nursery() as nursery:
            nursery.start_soon(self._walk, paths, send)
            for _ in range(jobs):
                nursery.start_soon(self._work, receive.clone(), limiter)
            receive.close()

    async def _walk(
        self, paths: Sequence[str], send: trio.MemorySendChannel[tuple[str, int]]
    ) -> None:
        async with send:
            for path in paths:
                walk = _files(path)
                while found := await trio.to_thread.run_sync(next, walk, None):
                    if isinstance(found, OSError):
                        self.outcome.failures.append(f"{found.filename}: {found.strerror}")
                        continue
                    self._total += found[1]
                    self._watcher.found(self._total)
                    await send.send(found)

    async def _work(
        self, receive: trio.MemoryReceiveChannel[tuple[str, int]], limiter: trio.CapacityLimiter
    ) -> None:
        async with receive:
            async for path, size in receive:
                try:
                    read, pinned = await trio.to_thread.run_sync(
                        _warm, path, self._pin, limiter=limiter, abandon_on_cancel=True
                    )
                except OSError as error:
                    self.outcome.failures.append(f"{path}: {error.strerror}")
                else:
                    self.outcome.read += read
                    self.outcome.present += size if not read else 0
                    self.outcome.pinned += pinned
                self.outcome.files += 1
                self._watcher.done(size)


def _files(top: str) -> Iterator[tuple[str, int] | OSError]:
    """Regular files at and below ``top`` with their sizes, and what could not be listed."""
    try:
        about = os.lstat(top)
        if not stat.S_ISDIR(about.st_mode):
            if stat.S_ISREG(about.st_mode):
                yield top, about.st_size
            return
        with os.scandir(top) as entries:
            names = sorted(entry.path for entry in entries)
    except OSError as error:
        yield error
        return
    for name in names:
        yield from _files(name)


def _warm(path: str, pin: bool) -> tuple[int, bool]:
    """Bring one file into the cache; (bytes read, 0 if it was there; whether it is pinned now)."""
    try:
        place = BackingFile.at(json.loads(os.getxattr(path, OBJECT_XATTR)))
    except OSError as error:
        if error.errno in (errno.ENODATA, errno.EOPNOTSUPP):
            raise OSError(error.errno, "the mount has no cache") from None
        raise
    size = os.stat(path).st_size
    if not size:
        return 0, False
    read = 0
    if not place.is_whole(size):
        read = _read(path)
        again = time.monotonic() + _SETTLED
        end = time.monotonic() + _STORED_TIMEOUT
        while not place.is_whole(size):
            if time.monotonic() >= again:
                again = math.inf
                read += _read(path)
            elif time.monotonic() >= end:
                raise OSError(errno.ENOSPC, "not stored: is the cache full, or was it changed?")
            time.sleep(0.02)
    return read, pin and place.pin()


def _read(path: str) -> int:
    """Read all of the file, past what the kernel has of it; leaves none of it in its pages."""
    buffer = bytearray(_CHUNK)
    done = 0
    fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        with suppress(OSError):
            os.posix_fadvise(fd, 0, 0, os.POSIX_FADV_DONTNEED)
        while got := os.readv(fd, [buffer]):
            done += got
        with suppress(OSError):
            os.posix_fadvise(fd, 0, 0, os.POSIX_FADV_DONTNEED)
    finally:
        os.close(fd)
    return done
