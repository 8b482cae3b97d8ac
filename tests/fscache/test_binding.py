from __future__ import annotations

import os
import threading
from pathlib import Path

import trio

import cachefiles
from netfsfuse.config import CacheConfig
from netfsfuse.fscache import default_directory, open_cache
from netfsfuse.stats import CacheStats
from netfsfuse.types import CACHE_BLOCK, FileAttr

ATTR = FileAttr(1, 5, 9, 7, 8, CACHE_BLOCK, 0, 0)
BLOCK = memoryview(os.urandom(CACHE_BLOCK))


async def open_at(directory):
    stats = CacheStats()
    config = CacheConfig(directory=directory)
    fscache, notice = await open_cache(config, "server", 445, "share", stats)
    return fscache, notice, stats


async def test_a_cache_that_lasts(tmp_path):
    fscache, notice, stats = await open_at(tmp_path / "cache")
    assert notice is None
    assert stats.enabled
    file = await fscache.acquire(ATTR, "f")
    assert await file.write(0, BLOCK)
    await fscache.aclose()
    fscache, notice, stats = await open_at(tmp_path / "cache")
    file = await fscache.acquire(ATTR, "f")
    target = memoryview(bytearray(CACHE_BLOCK))
    assert await file.read(0, target)
    assert target == BLOCK
    await fscache.aclose()


async def test_two_mounts_of_a_share_share_what_they_store(tmp_path):
    first, _, _ = await open_at(tmp_path / "cache")
    second, notice, stats = await open_at(tmp_path / "cache")
    assert notice is None
    assert stats.enabled
    files = [await each.acquire(ATTR, "f") for each in (first, second)]
    assert await files[0].write(0, BLOCK)
    target = memoryview(bytearray(CACHE_BLOCK))
    assert await files[1].read(0, target)
    assert target == BLOCK
    await second.aclose()
    await first.aclose()


async def test_an_unusable_directory_gives_its_reason(tmp_path):
    tmp_path.chmod(0o777)
    fscache, notice, stats = await open_at(tmp_path)
    assert notice == (
        f"cannot use {tmp_path} as a cache: others can write to it; reading without a cache"
    )
    assert not stats.enabled
    await fscache.aclose()


async def test_nofsc_touches_nothing(tmp_path):
    stats = CacheStats()
    config = CacheConfig(enabled=False, directory=tmp_path / "cache")
    fscache, notice = await open_cache(config, "server", 445, "share", stats)
    assert notice is None
    assert not stats.enabled
    assert list(tmp_path.iterdir()) == []
    await fscache.aclose()


async def test_what_another_version_left_is_told(tmp_path):
    fscache, _, _ = await open_at(tmp_path)
    await fscache.aclose()
    (tmp_path / "version").write_bytes(b"cachefiles 9\n")
    fscache, notice, stats = await open_at(tmp_path)
    assert notice == f"the cache of another version was set aside as {tmp_path}/volumes.9"
    assert stats.enabled
    await fscache.aclose()


def test_the_default_directory(monkeypatch):
    monkeypatch.setattr(os, "geteuid", lambda: 0)
    assert default_directory() == Path("/var/cache/netfsfuse")
    monkeypatch.setattr(os, "geteuid", lambda: 1000)
    monkeypatch.setenv("XDG_CACHE_HOME", "/somewhere")
    assert default_directory() == Path("/somewhere/netfsfuse")


async def test_a_disk_that_hangs_is_no_reason_not_to_mount(tmp_path, monkeypatch):
    plain, opened, closed = cachefiles.Cache.bind, threading.Event(), threading.Event()

    def hanging(*arguments, **keywords):
        assert opened.wait(20)
        cache = plain(*arguments, **keywords)
        close = cache.close

        def closing():
            close()
            closed.set()

        monkeypatch.setattr(cache, "close", closing)
        return cache

    monkeypatch.setattr(cachefiles.Cache, "bind", hanging)
    monkeypatch.setattr("netfsfuse.fscache.binding.BIND_SECONDS", 0.02)
    with trio.fail_after(5):
        fscache, notice, stats = await open_at(tmp_path / "cache")
    assert "does not answer; reading without a cache" in notice
    assert not stats.enabled
    await fscache.aclose()
    opened.set()
    assert await trio.to_thread.run_sync(closed.wait, 5)  # it leaves nothing open
