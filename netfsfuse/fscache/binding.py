"""Find the cache directory and bind it; say in one line when there is no cache."""

from __future__ import annotations

import os
from pathlib import Path

import platformdirs
import trio

import cachefiles
from netfsfuse.config import CacheConfig
from netfsfuse.errors import UsageError
from netfsfuse.fscache.cookie import volume_key
from netfsfuse.fscache.io import FsCache
from netfsfuse.stats import CacheStats

BIND_SECONDS = 5.0
"""For finding and binding the directory: a disk that must spin up first is given the time."""


def default_directory() -> Path:
    """Where the cache is unless ``cachedir=`` says otherwise: the system's for root."""
    if os.geteuid() == 0:
        return Path("/var/cache/netfsfuse")
    return platformdirs.user_cache_path("netfsfuse")


def limits_of(config: CacheConfig) -> cachefiles.Limits:
    """The limits that ``config`` sets. Raises ``UsageError`` when they are not in order."""
    try:
        return cachefiles.Limits(
            **dict(config.percentages), cachesize=config.cachesize, cachefree=config.cachefree
        )
    except ValueError as error:
        raise UsageError(str(error)) from None


async def open_cache(
    config: CacheConfig, host: str, port: int, share: str, stats: CacheStats, *, subdir: str = ""
) -> tuple[FsCache, str | None]:
    """The cache for one share, and a line for user and log if there is something to say.

    A directory that is unusable gives an ``FsCache`` that stores nothing and the reason;
    the mount works without. Close the ``FsCache`` either way. The directory is in use as long as
    the process that calls this lives and has not closed it: call it in the process that serves
    the mount, after it went to the background.
    """
    if not config.enabled:
        return FsCache(None, None, stats), None
    directory = (config.directory or default_directory()).absolute()

    limits, verify = limits_of(config), cachefiles.Verify(config.verify)

    late = False

    def bind() -> tuple[cachefiles.Cache, cachefiles.Volume]:
        cache = cachefiles.Cache.bind(directory, limits=limits, verify=verify)
        try:
            volume = cache.volume(volume_key(host, port, share))
        except BaseException:
            cache.close()
            raise
        if late:
            cache.close()
        return cache, volume

    try:
        with trio.fail_after(BIND_SECONDS):
            cache, volume = await trio.to_thread.run_sync(bind, abandon_on_cancel=True)
    except trio.TooSlowError:
        late = True
        reason = f"the disk of the cache in {directory} does not answer"
        return FsCache(None, None, stats), f"{reason}; reading without a cache"
    except cachefiles.CacheError as error:
        return FsCache(None, None, stats), f"{error}; reading without a cache"
    notice = None
    if cache.set_aside is not None:
        notice = f"the cache of another version was set aside as {cache.set_aside}"
    return FsCache(cache, volume, stats, subdir=subdir), notice
