"""Composition root: one mount from its configuration to its end.

Order of start: server, cache, netfs, vfs, FUSE; each needs the ones before. Order of stop is the
reverse: no more requests from the kernel, handles closed, stores behind readers finished, cache
closed, logged off. The service nursery opened here owns every task that outlives the call that
started it: receive loops, subrequests, stores, the FUSE main loop. All but this file know it as a
``ServiceNursery`` (``tasks.py``), which none of its tasks can take down.
"""

from __future__ import annotations

import gc
import logging
import os
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import trio

import netfsfuse
from netfsfuse.config import DEFAULT_RSIZE, FileSystemConfig, MountConfig
from netfsfuse.descriptors import raise_limit
from netfsfuse.ending import DRAIN_SECONDS, Ending
from netfsfuse.errors import MountError, NetfsError, NotFound
from netfsfuse.fscache import FsCache, open_cache
from netfsfuse.fuse.notifier import Notifier
from netfsfuse.fuse.operations import Operations
from netfsfuse.fuse.session import FuseSession, mounted
from netfsfuse.netfs import Netfs
from netfsfuse.netfs.service import MOST_WSIZE
from netfsfuse.servers import Limits, Server, server_of
from netfsfuse.signals import follow_signals, ignore_the_others
from netfsfuse.stats import Stats
from netfsfuse.tasks import ServiceNursery
from netfsfuse.types import CACHE_BLOCK, FileAttr
from netfsfuse.vfs.contents import Contents
from netfsfuse.vfs.filesystem import FileSystem
from netfsfuse.vfs.inodes.inodes import InodeTable
from netfsfuse.vfs.ops import Namespace

log = logging.getLogger(__name__)

Announce = Callable[[list[str]], None]

_NAMES_MAX = 20
"""Files that are named when they are lost."""


def run(config: MountConfig, announce: Announce, hang_up: Callable[[], None] | None = None) -> None:
    """Mount and serve until unmounted, or a signal means the end. Blocking; main thread.

    ``announce(notices)`` is called once the mount answers; notices are lines for the user.
    ``hang_up()`` is called on the loop for each SIGHUP, which ends the mount without; a login that
    was refused is tried again then. Raises
    MountError, one line, when it cannot be mounted; nothing is left mounted then.
    """
    ignore_the_others()
    raise_limit()
    try:
        trio.run(_serve, config, announce, hang_up)
    except BaseExceptionGroup as group:
        refused, rest = group.split(MountError)
        if refused is None or rest is not None:
            raise
        raise _first(refused) from group


def _first(group: BaseExceptionGroup[MountError]) -> MountError:
    first = group.exceptions[0]
    return _first(first) if isinstance(first, BaseExceptionGroup) else first


async def _serve(
    config: MountConfig, announce: Announce, hang_up: Callable[[], None] | None
) -> None:
    ending = Ending()
    async with trio.open_nursery() as nursery:
        nursery.start_soon(ending.leave_in_time)
        await _serve_until(ending, config, announce, hang_up)
        nursery.cancel_scope.cancel()


async def _serve_until(
    ending: Ending,
    config: MountConfig,
    announce: Announce,
    hang_up: Callable[[], None] | None,
) -> None:
    stats = Stats()
    ending.progress = lambda: (stats.write.dirty_bytes, stats.write.requests)
    async with trio.open_nursery() as nursery:
        service = ServiceNursery(nursery, stats.tasks.note_failed)
        # A signal ends what is below in order; the service tasks go on until that is done.
        with trio.CancelScope() as scope:

            def end() -> None:
                ending.begun.set()
                scope.cancel()

            server = server_of(config, nursery=service, stats=stats.server)

            def renew() -> None:
                if hang_up is not None:
                    hang_up()
                server.credentials_changed()

            service.keep_running(follow_signals, end, renew if hang_up is not None else None)
            await _mount(config, announce, service, server, stats, ending)
        nursery.cancel_scope.cancel()


async def _mount(
    config: MountConfig,
    announce: Announce,
    service: ServiceNursery,
    server: Server,
    stats: Stats,
    ending: Ending,
) -> None:
    notices: list[str] = []
    try:
        limits = await server.connect()
        if server.is_write_protected and not config.read_only:
            notices.append(f"mounted read-only: {config.source} cannot be written by this user")
            config = replace(config, read_only=True)
        root = await _stat_root(server.namespace, config)
        named = config.server
        cache, notice = await open_cache(
            config.cache,
            named.host,
            named.port,
            named.share,
            stats.cache,
            subdir=named.subdir,
        )
        service.start_soon(cache.maintain)
        ending.hangs = lambda: cache.health.hangs
        try:
            netfs = _netfs(config, service, server, stats, limits)
            inodes = InodeTable(root, stats.vfs)
            notifier = Notifier(inodes)
            filesystem = FileSystem(
                inodes=inodes,
                namespace=server.namespace,
                contents=Contents(netfs, cache),
                kernel=notifier,
                config=FileSystemConfig(config.trust, config.write),
                stats=stats,
                nursery=service,
            )
            operations = Operations(
                filesystem,
                config.shown,
                stats,
                lambda: _describe(config, stats),
                lambda number: _locate(cache, filesystem, number),
                notifier.absent,
                notifier.renewed,
            )
            notices += [notice] if notice else []
            try:
                async with mounted(operations, config, service, notifier, ending) as fuse:
                    await _answer(fuse, ending, lambda: announce(notices))
            finally:
                ending.begun.set()
                await _wind_down(filesystem, netfs, ending)
        finally:
            with trio.CancelScope(shield=True):
                await cache.aclose()
    finally:
        await server.aclose()


def _netfs(
    config: MountConfig, service: ServiceNursery, server: Server, stats: Stats, limits: Limits
) -> Netfs:
    rsize = min(config.read.rsize or DEFAULT_RSIZE, limits.max_read)
    wsize = min(config.write.wsize or MOST_WSIZE, limits.max_write)
    return Netfs(
        nursery=service,
        config=config.read,
        stats=stats,
        rsize=max(rsize // CACHE_BLOCK, 1) * CACHE_BLOCK,
        capacity=server.read_capacity,
        wsize=max(wsize // CACHE_BLOCK, 1) * CACHE_BLOCK,
        write_capacity=server.write_capacity,
    )


async def _answer(fuse: FuseSession, ending: Ending, announce: Callable[[], None]) -> None:
    """Until it is unmounted. ``announce`` is called when the mount answers."""
    ending.unmount = fuse.unmount
    await fuse.wait_answering()
    _spare_collector()
    announce()
    await fuse.wait_ended()


def _spare_collector() -> None:
    """Take all that lives as long as the mount, modules above all, out of garbage collections: a
    full one held the loop up for 28 ms with 20,000 known inodes, and for 6 ms without these
    (measured).
    """
    gc.collect()
    gc.freeze()


async def _wind_down(filesystem: FileSystem, netfs: Netfs, ending: Ending) -> None:
    """Close what the kernel left open, send what was written, and let the stores finish."""

    async def finish() -> None:
        await filesystem.aclose()
        await netfs.drain()

    if await ending.wait_moving(finish, DRAIN_SECONDS):
        return
    lost = netfs.unsent()
    if not lost:
        log.warning("gave up waiting for the cache after %g s", DRAIN_SECONDS)
        return
    names = ", ".join(f"{name!r} ({size} bytes)" for name, size in lost[:_NAMES_MAX])
    log.error(
        "%d bytes of %d files did not get to the server, and are lost, as nothing has moved for "
        "%g s: %s%s",
        sum(size for _, size in lost),
        len(lost),
        DRAIN_SECONDS,
        names,
        "" if len(lost) <= _NAMES_MAX else ", and others",
    )


async def _stat_root(namespace: Namespace, config: MountConfig) -> FileAttr:
    """The folder to be mounted. Raises MountError when it is not there or no folder."""
    where = f"//{config.server.host}/{config.server.share}/{config.server.subdir}".rstrip("/")
    try:
        root = await namespace.stat("")
    except NotFound:
        raise MountError(f"there is no folder {where}") from None
    except NetfsError as failed:
        raise MountError(f"cannot read {where}: {failed}") from failed
    if not root.is_directory:
        raise MountError(f"{where} is not a folder")
    return root


def _describe(config: MountConfig, stats: Stats) -> dict[str, Any]:
    """What ``netfsfuse stats`` shows."""
    return stats.snapshot() | {
        "daemon": {"pid": os.getpid(), "version": netfsfuse.__version__},
        "mount": {"source": config.source, "mountpoint": str(config.mountpoint)},
    }


def _locate(cache: FsCache, filesystem: FileSystem, number: int) -> dict[str, str] | None:
    """Where the file with that inode number is cached."""
    inode = filesystem.inodes.get(number)
    return cache.locate(inode.attr, inode.path)
