"""The process of a long link: ``python -m netfsfuse.lab.link.reflector ROUND_TRIP``.

It makes a TUN device, holds each packet for half of the round trip and sends it back with source
and destination exchanged. What is sent to the far address so arrives at the near one, as if from
the far one: client and server are on one machine, in one namespace, and between them is a long
link that TCP itself sees, with windows, acknowledgements and slow start as on a real one.

Python keeps up because the kernel hands over TCP's large segments as a network card would get
them, up to 64 KiB with one checksum still to be filled in (``IFF_VNET_HDR``, ``TUNSETOFFLOAD``),
while TCP counts packets of 1,500 bytes. A sum does not change when addresses change places.

Prints a line once the device is up, and ends with its standard input, which ``process``
holds open.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import select
import struct
import subprocess
import sys
import time
from collections import deque

DEVICE = "netfsfuse0"
NEAR = "10.77.0.1"
FAR = "10.77.0.2"
PREFIX = 30

_MOST_HELD = 64 << 20
"""Bytes; what comes in then is dropped, as a router does. 2.5 GB/s at a round trip of 50 ms."""

_MOST_AT_ONCE = 64
"""Packets read before the ones that are due are looked at again."""

_TUNSETIFF = 0x400454CA
_TUNSETOFFLOAD = 0x400454D0
_IFF_TUN, _IFF_NO_PI, _IFF_VNET_HDR = 0x0001, 0x1000, 0x4000
_OFFLOAD_CHECKSUM, _OFFLOAD_TCP4 = 0x01, 0x02

_LONGEST = 66 * 1024
_SOURCE = 10 + 12  # in a packet: after the virtio-net header of 10 bytes, the IPv4 header
_VERSION = 10


def open_device() -> int:
    """Make the device, with its addresses; its file descriptor. Raises OSError."""
    device = os.open("/dev/net/tun", os.O_RDWR | os.O_NONBLOCK | os.O_CLOEXEC)
    flags = _IFF_TUN | _IFF_NO_PI | _IFF_VNET_HDR
    fcntl.ioctl(device, _TUNSETIFF, struct.pack("16sH22x", DEVICE.encode(), flags))
    fcntl.ioctl(device, _TUNSETOFFLOAD, _OFFLOAD_CHECKSUM | _OFFLOAD_TCP4)
    for words in (
        ["address", "add", f"{NEAR}/{PREFIX}", "dev", DEVICE],
        # The queue in front of us holds what we cannot read at once. TCP keeps it short by itself;
        # the default of 500 packets drops some when many connections start.
        ["link", "set", DEVICE, "txqueuelen", "4000", "up"],
    ):
        subprocess.run(["ip", *words], check=True)
    return device


def turned(packet: bytes) -> tuple[bytes, memoryview]:
    """The packet, in two parts, with source and destination exchanged."""
    near, far = _SOURCE, _SOURCE + 4
    head = packet[:near] + packet[far : far + 4] + packet[near:far]
    return head, memoryview(packet)[far + 4 :]


def reflect(device: int, half: float, parent: int) -> None:
    """Turn packets round, ``half`` seconds after they came, until ``parent`` ends."""
    epoll = select.epoll()
    epoll.register(device, select.EPOLLIN)
    epoll.register(parent, select.EPOLLIN)
    line: deque[tuple[float, bytes]] = deque()  # (due, packet)
    held = 0
    while True:
        patience = line[0][0] - time.monotonic() if line else None
        if patience is None or patience > 0:
            select.select([epoll], [], [], patience)  # finer than epoll's milliseconds
        ready = dict(epoll.poll(0))
        if parent in ready:
            return
        if device in ready:
            due = time.monotonic() + half
            with contextlib.suppress(BlockingIOError):
                for _ in range(_MOST_AT_ONCE):
                    packet = os.read(device, _LONGEST)
                    if packet[_VERSION] >> 4 == 4 and held < _MOST_HELD:
                        line.append((due, packet))
                        held += len(packet)
        now = time.monotonic()
        while line and line[0][0] <= now:
            packet = line.popleft()[1]
            held -= len(packet)
            with contextlib.suppress(OSError):  # one that the kernel does not want is lost
                os.writev(device, turned(packet))


def main() -> None:
    """Make the device, say so, reflect until standard input ends."""
    half = float(sys.argv[1]) / 2
    device = open_device()
    print("up", flush=True)
    reflect(device, half, sys.stdin.fileno())


if __name__ == "__main__":
    main()
