"""Mounts that only pretend, and one that is real but empty."""

from __future__ import annotations

import errno
import json
import logging
import os
import signal
import stat
import time
from collections.abc import Callable
from pathlib import Path

from netfsfuse.config import MountConfig
from netfsfuse.errors import LoginRefused, MountError

Announce = Callable[[list[str]], None]


def record(config: MountConfig) -> None:
    """Write down what this process looks like from outside and was told."""
    seen = {
        "pid": os.getpid(),
        "sid": os.getsid(0),
        "cwd": str(Path.cwd()),
        "cmdline": Path("/proc/self/cmdline").read_text(),
        "environ": Path("/proc/self/environ").read_text() + repr(dict(os.environ)),
        "password": config.server.credentials.password,
        "username": config.server.credentials.username,
        "config": repr(config),
        "foreground": config.foreground,
        "mountpoint": str(config.mountpoint),
    }
    if "NETFSFUSE_STANDIN_RECORD" in os.environ:
        Path(os.environ["NETFSFUSE_STANDIN_RECORD"]).write_text(json.dumps(seen))


def stay(config: MountConfig, announce: Announce) -> None:
    """Mount, and stay until SIGTERM."""
    signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGTERM})
    record(config)
    logging.getLogger("netfsfuse.standin").info("mounted %s", config)
    announce(["standin notice"])
    print("after the announcement nobody reads this")
    signal.sigwait({signal.SIGTERM})


def brief(config: MountConfig, announce: Announce) -> None:
    """Mount, and be unmounted at once."""
    record(config)
    announce(["standin notice"])


def refuse(config: MountConfig, announce: Announce) -> None:
    """The server says no."""
    raise MountError("wrong password\nfor bob")


def refuse_in_a_group(config: MountConfig, announce: Announce) -> None:
    """The server says no, inside of a nursery."""
    raise ExceptionGroup("nursery", [ExceptionGroup("inner", [MountError("wrong password")])])


def refuse_login(config: MountConfig, announce: Announce) -> None:
    """The server does not know him."""
    raise ExceptionGroup("nursery", [LoginRefused("wrong user name or password")])


def crash(config: MountConfig, announce: Announce) -> None:
    """A bug, whose exception holds the password."""
    raise ValueError(config.server.credentials.password)


def die(config: MountConfig, announce: Announce) -> None:
    """The process is gone without a word."""
    os._exit(7)


def hang(config: MountConfig, announce: Announce) -> None:
    """Never ready."""
    record(config)
    time.sleep(300)


def empty(config: MountConfig, announce: Announce) -> None:
    """A real FUSE mount of an empty directory that serves the statistics."""
    import pyfuse3
    import trio

    class Empty(pyfuse3.Operations):
        async def getattr(self, inode, ctx=None):
            entry = pyfuse3.EntryAttributes()
            entry.st_ino = inode
            entry.st_mode = stat.S_IFDIR | 0o755
            entry.st_nlink = 2
            entry.attr_timeout = 0  # each stat asks the daemon
            return entry

        async def getxattr(self, inode, name, ctx):
            if name != b"user.netfsfuse.stats":
                raise pyfuse3.FUSEError(errno.ENODATA)
            padding = {str(i): i for i in range(100)}  # larger than a first guess at the size
            pid = {"daemon": {"pid": os.getpid()}} if "TELL_PID" in os.environ else {}
            counters = {"application": {"bytes": 3 << 20, "reads": 12345}, "padding": padding}
            if "LEFT" in os.environ:
                counters["write"] = json.loads(Path(os.environ["LEFT"]).read_text())
            return json.dumps({**counters, **pid}).encode()

        async def opendir(self, inode, ctx):
            return inode

    options = set(pyfuse3.default_options)
    options |= {"fsname=" + config.source.replace(",", "\\,"), "subtype=netfsfuse"}
    pyfuse3.init(Empty(), str(config.mountpoint), options)

    async def serve() -> None:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(pyfuse3.main)
            await trio.to_thread.run_sync(os.stat, config.mountpoint)
            announce([])

    try:
        trio.run(serve)
    finally:
        pyfuse3.close()
    time.sleep(float(os.environ.get("STORING", "0")))


BEHAVIOURS = {
    name: globals()[name]
    for name in (
        "stay",
        "brief",
        "refuse",
        "refuse_in_a_group",
        "refuse_login",
        "crash",
        "die",
        "hang",
        "empty",
    )
}
