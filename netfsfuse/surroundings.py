"""What happens around a mount that its connections do not tell: the network changes, the machine
sleeps.

The kernel tells of links and addresses that come and go (rtnetlink). Of sleep it tells nothing
without a desktop, but CLOCK_BOOTTIME goes on meanwhile, which CLOCK_MONOTONIC, trio's, does not.
Imports nothing of this package.
"""

from __future__ import annotations

import logging
import socket
import time
from collections.abc import Callable

import trio

log = logging.getLogger(__name__)

_LINKS, _ADDRESSES_4, _ADDRESSES_6 = 0x1, 0x10, 0x100
"""Multicast groups of NETLINK_ROUTE, RTMGRP_LINK and its like (linux/rtnetlink.h)."""

_SETTLES = 0.2
"""Seconds: a cable that is put in brings five messages within as much."""

_LOOKED_AT = 5.0
"""Seconds of being awake after which sleep is found out at the latest."""

_SLEPT = 0.5
"""Seconds by which the clocks must differ: read one after the other they do by microseconds."""


def _slept() -> float:
    """Seconds that the machine has slept since it was started."""
    return time.clock_gettime(time.CLOCK_BOOTTIME) - time.clock_gettime(time.CLOCK_MONOTONIC)


class Sleep:
    """Finds out that the machine has slept. ``slept`` gives the seconds that it has, ever."""

    def __init__(self, slept: Callable[[], float] = _slept) -> None:
        self._slept = slept
        self._known = slept()

    def is_over(self) -> bool:
        """Whether the machine has slept since this was asked last."""
        now = self._slept()
        longer = now - self._known > _SLEPT
        if longer:
            self._known = now
        return longer


async def look_for_sleep(look: Callable[[], object]) -> None:
    """Call ``look`` now and then. A task; never returns."""
    while True:
        await trio.sleep(_LOOKED_AT)
        look()


async def follow_network(changed: Callable[[], None]) -> None:
    """Call ``changed``, which waits for nothing, when links or addresses have come or gone. A task;
    returns where the kernel does not tell."""
    try:
        sock = trio.socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, socket.NETLINK_ROUTE)
    except OSError as failed:
        log.info("changes of the network are not told here: %s", failed)
        return
    with sock:
        await sock.bind((0, _LINKS | _ADDRESSES_4 | _ADDRESSES_6))
        while True:
            await trio.lowlevel.wait_readable(sock)
            await trio.sleep(_SETTLES)
            _drain(sock)
            changed()


def _drain(sock: trio.socket.SocketType) -> None:
    """Take what is there: that there was something is all that counts."""
    plain = socket.socket(fileno=sock.fileno())
    try:
        while True:
            try:
                plain.recv(1 << 16, socket.MSG_DONTWAIT)
            except BlockingIOError:
                return
            except OSError:  # ENOBUFS: some were lost, and others are there
                continue
    finally:
        plain.detach()
