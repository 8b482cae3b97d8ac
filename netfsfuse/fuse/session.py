"""One FUSE session: mount, main loop, unmount."""

from __future__ import annotations

import contextlib
import logging
import os
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, nullcontext
from functools import partial

import pyfuse3
import trio

from netfsfuse.config import DEFAULT_RASIZE, MountConfig
from netfsfuse.ending import Ending
from netfsfuse.errors import MountError
from netfsfuse.fuse.initflags import DIRECT_IO_ALLOW_MMAP, HANDLE_KILLPRIV_V2, added
from netfsfuse.fuse.mapped import write_back
from netfsfuse.fuse.notifier import Notifier
from netfsfuse.fuse.operations import Operations
from netfsfuse.fuse.readable import FuseReadable
from netfsfuse.fuse.tuning import tune
from netfsfuse.fuse.workers import Workers, installed, session_loop
from netfsfuse.stats import VfsStats
from netfsfuse.tasks import ServiceNursery

log = logging.getLogger(__name__)


def _is_news(record: logging.LogRecord) -> bool:
    """Not so a reply that no reader waits for any more: its reader was killed, or the mount is
    gone. pyfuse3 calls each an error.
    """
    return "fuse_reply_* failed with No such file" not in record.getMessage()


logging.getLogger("pyfuse3").addFilter(_is_news)

_KERNEL_FLAGS = frozenset({"nosuid", "nodev", "noexec", "noatime", "nodiratime", "suid", "dev"})
_ANSWER_SECONDS = 20.0
_GRACE = 2.0


class _Raw(str):
    """An option that holds more than ASCII: pyfuse3 asks each for its ASCII bytes, and libfuse and
    the kernel take any. These are the bytes that the caller's words came in, as cifs shows them.
    """

    __slots__ = ()

    def encode(self, encoding: str = "", errors: str = "") -> bytes:
        """The bytes, whatever encoding is asked for."""
        return os.fsencode(str(self))


def mount_options(config: MountConfig) -> set[str]:
    """What libfuse is told. A comma or backslash in the source is escaped for it."""
    shown = config.source.replace("\\", "\\\\").replace(",", "\\,")
    options: set[str] = {_Raw(f"fsname={shown}"), "subtype=netfsfuse"}
    options.update(flag for flag in config.mount_flags if flag in _KERNEL_FLAGS)
    if config.read_only:
        options.add("ro")
    if config.allow_other:
        options.add("allow_other")
    if config.default_permissions:
        options.add("default_permissions")
    return options


def init_flags(config: MountConfig) -> int:
    """What the answer to INIT is to hold beside what libfuse knows."""
    flags = 0 if config.read_only else HANDLE_KILLPRIV_V2
    if config.trust.mode == "none":
        # Without the kernel's pages (FOPEN_DIRECT_IO) it refuses shared mappings if not told so.
        flags |= DIRECT_IO_ALLOW_MMAP
    return flags


class FuseSession:
    """A mounted session. ``wait_ended`` returns when it was unmounted. ``stats`` says whether files
    are open."""

    def __init__(self, config: MountConfig, ending: Ending, stats: VfsStats) -> None:
        self._workers: Workers | None = None
        self._stats = stats
        self._config = config
        self._ending = ending
        self._ended = trio.Event()
        self._scope = trio.CancelScope()
        self._mounted = True

    def unmount(self) -> None:
        """Take the mount away, if that was not done, whatever still goes on there."""
        if self._mounted:
            self._mounted = False  # libfuse would crash
            pyfuse3.close(unmount=True)

    async def serve(self, workers: Workers) -> None:
        """The main loop. Never raises but Cancelled."""
        self._workers = workers
        try:
            with self._scope:
                await workers.run()
        except Exception:
            log.exception("the FUSE main loop ended unexpectedly")
        finally:
            self._ended.set()

    async def wait_ended(self) -> None:
        """Until the main loop is over."""
        await self._ended.wait()

    async def wait_answering(self) -> None:
        """Until the mount has answered its first request, and is tuned. Raises MountError."""
        with trio.move_on_after(_ANSWER_SECONDS):
            config = self._config
            await trio.to_thread.run_sync(
                tune,
                config.mountpoint,
                config.read.rasize or DEFAULT_RASIZE,
                abandon_on_cancel=True,
            )
            return
        raise MountError(f"the mount on {self._config.mountpoint} does not answer")

    async def stop(self) -> None:
        """End the main loop: requests under way get a moment, stuck ones are cancelled. Those that
        wait for what was written are not stuck as long as it moves."""
        if not self._ended.is_set():
            if self._stats.handles:
                write = partial(write_back, self._config.mountpoint)
                await self._ending.wait_moving(partial(_in_thread, write), _GRACE)
            pyfuse3.terminate()
            if self._workers is not None:
                self._workers.end()
            await self._ending.wait_moving(self._ended.wait, _GRACE)
            self._scope.cancel()
            with trio.CancelScope(shield=True):
                await self._ended.wait()


async def _in_thread(call: Callable[[], None]) -> None:
    await trio.to_thread.run_sync(call, abandon_on_cancel=True)


def _fuse_descriptors() -> set[int]:
    """Our descriptors of /dev/fuse."""
    found = set()
    for name in os.listdir("/proc/self/fd"):
        with contextlib.suppress(OSError):
            if os.readlink(f"/proc/self/fd/{name}") == "/dev/fuse":
                found.add(int(name))
    return found


@asynccontextmanager
async def mounted(
    operations: Operations,
    config: MountConfig,
    nursery: ServiceNursery,
    notifier: Notifier,
    ending: Ending,
) -> AsyncIterator[FuseSession]:
    """Mount, and serve in ``nursery``; unmounted on the way out. ``ending`` knows what moves then.
    Raises MountError."""
    operations.is_read_only = config.read_only
    before = _fuse_descriptors()
    try:
        pyfuse3.init(operations, str(config.mountpoint), mount_options(config))
    except RuntimeError as failed:
        raise MountError(f"cannot mount on {config.mountpoint}: {failed}") from failed
    session = FuseSession(config, ending, operations.stats.vfs)
    try:
        # pyfuse3 keeps its descriptor to itself: it is the one that was not there before.
        (descriptor,) = _fuse_descriptors() - before
        wanted = init_flags(config)
        readable = FuseReadable(descriptor)
        workers = Workers(readable, operations.backlog, session_loop)
        with (
            readable.rescued(),
            installed(workers),
            added(descriptor, wanted) if wanted else nullcontext(),
        ):
            nursery.keep_running(operations.deadlines.run)
            nursery.start_soon(session.serve, workers)
            nursery.keep_running(notifier.run)
            try:
                yield session
            finally:
                await session.stop()
                await notifier.stop()
    finally:
        session.unmount()
