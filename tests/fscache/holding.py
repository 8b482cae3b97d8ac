"""An FsCache over a real cachefiles cache with faults, and threads held at will."""

from __future__ import annotations

import os
import threading

import trio
import trio.testing

import cachefiles
from netfsfuse.fscache.io import FsCache
from netfsfuse.netfs.ops import CacheObject
from netfsfuse.stats import CacheStats
from netfsfuse.types import CACHE_BLOCK, FileAttr

SIZE = 3 * CACHE_BLOCK + 500
ATTR = FileAttr(
    file_id=7, creation=5, access=9, write=7, change=8, size=SIZE, allocation=0, flags=0
)
DERIVED = ATTR._replace(creation=6, access=6)
CONTENT = memoryview(os.urandom(SIZE))


class Setup:
    """An FsCache that can be closed and opened again, with its faults, clock and counters."""

    def __init__(self, directory):
        self.directory = directory
        self.now = 0.0
        self.open()

    def open(self):
        self.faults = cachefiles.Faults()
        self.stats = CacheStats()
        cache = cachefiles.Cache.bind(self.directory, self.faults)
        self.fscache = FsCache(cache, cache.volume(b"v"), self.stats, clock=lambda: self.now)

    async def acquire(self, attr=ATTR, path="f") -> CacheObject:
        return await self.fscache.acquire(attr, path)

    async def reopen(self):
        await self.fscache.aclose()
        self.open()


async def content_in(file, size=SIZE):
    target = memoryview(bytearray(size))
    return bytes(target) if await file.read(0, target) else None


class Gate:
    """Holds the first thread that comes to an ``os`` call until it is opened."""

    def __init__(self, monkeypatch, name):
        self.reached = threading.Event()
        self.opened = threading.Event()
        plain = getattr(os, name)

        def held(*args):
            self.reached.set()
            assert self.opened.wait(20)
            return plain(*args)

        monkeypatch.setattr(os, name, held)

    async def wait_reached(self):
        assert await trio.to_thread.run_sync(self.reached.wait, 20)
