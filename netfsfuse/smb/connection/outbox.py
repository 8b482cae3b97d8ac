"""Messages to the socket, in order. Requests are small, and the socket almost always takes them at
once: no task switch. What it does not take waits for the task of ``run``.

Nothing bounds it here: each request in it has cost a credit, and each cancels at most once.
"""

from __future__ import annotations

import socket
from collections import deque
from collections.abc import Sequence

import trio

from netfsfuse.smb.connection.crypto import Sealer
from netfsfuse.smb.wire.header import pack_frame
from netfsfuse.stats import ServerStats


class Outbox:
    """``sock`` is non-blocking, and is the same socket as ``trio_sock``; both are the caller's.
    ``sealer`` encrypts what is sent, if there is one."""

    def __init__(
        self,
        sock: socket.socket,
        trio_sock: trio.socket.SocketType,
        sealer: Sealer | None,
        stats: ServerStats,
    ) -> None:
        self._sock = sock
        self._trio_sock = trio_sock
        self._sealer = sealer
        self._stats = stats
        self._waiting: deque[memoryview] = deque()
        self._filled = trio.Event()

    def __len__(self) -> int:
        """Frames that wait for the socket."""
        return len(self._waiting)

    def send(self, messages: Sequence[bytes | bytearray]) -> None:
        """Send whole messages, signed if they must be, with one system call. Raises OSError."""
        if self._sealer is not None:
            messages = [self._sealer.seal(message) for message in messages]
        frames = [part for message in messages for part in (pack_frame(len(message)), message)]
        frame = memoryview(b"".join(frames))
        self._stats.wire_sent += len(frame)
        if not self._waiting:
            try:
                sent = self._sock.send(frame)
            except BlockingIOError:
                sent = 0
            frame = frame[sent:]
        if frame:
            self._waiting.append(frame)
            self._filled.set()

    async def run(self) -> None:
        """Send what waits. Raises OSError and trio's errors of a closed socket."""
        while True:
            await self._filled.wait()
            while self._waiting:
                sent = await self._trio_sock.send(self._waiting[0])
                rest = self._waiting[0][sent:]
                if rest:
                    self._waiting[0] = rest
                else:
                    self._waiting.popleft()
            self._filled = trio.Event()
