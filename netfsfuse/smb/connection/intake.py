"""Bytes from the socket to where they belong, in as few system calls and task switches as may be.

trio's own ``recv_into`` runs a whole round of the scheduler for each call, also when the data is
there. Here the socket is asked until it has no more, and only then waited for. Each call takes the
rest of one message and, into memory of its own, the beginning of the next: while messages follow
on each other, one of 1 MiB costs one system call, if the kernel has it whole.

Measured, 8 reads of 1 MiB in flight, Samba 4.17 on loopback, two cores: half the rounds of the
scheduler (1.4 a message), and 0.15 s of user CPU per GiB instead of 0.22.
"""

from __future__ import annotations

import socket
from collections.abc import Callable

import trio

from netfsfuse.errors import Disconnected

_AT_ONCE = 1 << 20
"""Bytes received before other tasks get their turn: some 0.2 ms of copying."""

_PER_MESSAGE = 32 * 1024
"""What a message counts beside its bytes: 32 small ones, some 2 ms, are a turn as well."""

_LOW_WATER = 256 * 1024
"""While more than that is missing of a message, do not wake for less. Medians on loopback: without
it 1.4 GB/s and 0.21 s of user CPU per GiB; with this 2.0 and 0.15; with the whole of 1 MiB 1.3 and
0.16, for then nothing is copied while the server sends. The machine was noisy."""

_ENOUGH = 8  # a frame's length and a message's magic


class Intake:
    """``sock`` is non-blocking and owned by the caller. ``received_at``: when something came last
    (trio clock). ``received``: bytes so far. ``ahead`` bytes, the least that any message has, are
    received of the next one.
    ``check`` looks at fewer, at least ``_ENOUGH``, lest we wait for more than will come; it raises.
    """

    def __init__(
        self, sock: socket.socket, ahead: int, check: Callable[[memoryview], None]
    ) -> None:
        self.received_at = trio.current_time()
        self.received = 0
        self._sock = sock
        self._check = check
        self._prefix = memoryview(bytearray(ahead))
        self._begun = 0  # bytes of the prefix that are here
        self._turn = 0
        self._low_water = 1

    async def prefix(self) -> bytes:
        """The first ``ahead`` bytes of the next message. Raises Disconnected at the end."""
        self._turn += _PER_MESSAGE
        if self._turn >= _AT_ONCE:
            self._turn = 0
            await trio.lowlevel.checkpoint()
        begun, whole = self._begun, len(self._prefix)
        while begun < whole:
            if begun >= _ENOUGH:
                self._check(self._prefix)
            begun += await self._receive([self._prefix[begun:]], whole - begun)
        self._begun = 0
        return bytes(self._prefix)

    async def fill(self, target: memoryview) -> None:
        """Receive the rest of the message whose prefix was taken, and what is there of the next."""
        while missing := len(target):
            if missing > _AT_ONCE:
                target = target[await self._receive([target[:_AT_ONCE]], missing) :]
                continue
            received = await self._receive([target, self._prefix], missing)
            if received >= missing:
                self._begun = received - missing
                return
            target = target[received:]

    async def _receive(self, targets: list[memoryview], missing: int) -> int:
        while True:
            try:
                received = self._sock.recvmsg_into(targets)[0]
            except BlockingIOError:
                await self._wait(missing)
                continue
            if not received:
                raise Disconnected("the server closed the connection")
            self.received_at = trio.current_time()
            self.received += received
            self._turn += received
            return received

    async def _wait(self, missing: int) -> None:
        self._set_low_water(_LOW_WATER if missing > _LOW_WATER else 1)
        await trio.lowlevel.wait_readable(self._sock)
        self._turn = 0

    def wake_on_any_byte(self) -> None:
        """Wake up for a single byte: so slow a peer is still a live one."""
        self._set_low_water(1)

    def _set_low_water(self, count: int) -> None:
        """Linux wakes no task for less, and those that wait already when it is lowered. Where the
        kernel's own buffer cannot hold as much it wakes earlier.
        """
        if count != self._low_water:
            self._low_water = count
            self._sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVLOWAT, count)
