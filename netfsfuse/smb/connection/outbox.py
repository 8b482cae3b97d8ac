"""Messages to the socket. Most are small, and the socket almost always takes them at once: no task
switch. What it does not take waits for the task of ``run``.

The payload of a WRITE is sent from the buffer that it lies in, uncopied; where all is encrypted,
from the ciphertext's own memory. The buffer is held as long as the socket does not have all of it,
whatever becomes of the caller, or of the answer.

While WRITEs wait, small messages go before them, never into the middle of one: a look-up would
else stand behind megabytes. So messages may leave in another order than they were given in, which
the server allows: MessageIds are a window, not a sequence ([MS-SMB2] 3.3.5.2.3).

Nothing bounds what waits here: each request in it has cost a credit, and each cancels at most once.
"""

from __future__ import annotations

import socket
from collections import deque
from collections.abc import Sequence
from errno import EPIPE

import trio

from netfsfuse.smb.connection.crypto import Sealer
from netfsfuse.smb.connection.exchange import PayloadSource
from netfsfuse.smb.wire.header import pack_frame
from netfsfuse.stats import ServerStats

Message = tuple[bytes | bytearray, PayloadSource | None]
"""A whole message, signed if it must be, but for the payload that follows."""


class _Frame:
    """What is still to be sent of one: some ``parts``. ``source`` is the payload's, ``reads``
    whether it is read from there."""

    __slots__ = ("parts", "reads", "source")

    def __init__(
        self, parts: list[memoryview], source: PayloadSource | None = None, *, reads: bool = False
    ) -> None:
        self.parts = parts
        self.source = source
        self.reads = reads

    def sent(self, count: int) -> bool:
        """The socket has taken ``count`` bytes; whether that was all."""
        parts = self.parts
        while parts and count >= len(parts[0]):
            count -= len(parts[0])
            del parts[0]
        if count:
            parts[0] = parts[0][count:]
        if not parts and self.source is not None:
            self.source.taken_at = trio.current_time()
        return not parts

    def hold(self) -> None:
        """It waits."""
        if self.reads and self.source is not None:
            self.source.buffer.hold()

    def let_go(self) -> None:
        """It waits no longer."""
        if self.reads and self.source is not None:
            self.source.buffer.drop()


class Outbox:
    """``sock`` is non-blocking, and is the same socket as ``trio_sock``; both are the caller's.
    ``sealer`` encrypts what is sent, if there is one. ``moved_at``: when the socket last took some
    of what waited, or something began to wait (trio clock). ``taken``: bytes of what waited
    that it took so far."""

    def __init__(
        self,
        sock: socket.socket,
        trio_sock: trio.socket.SocketType,
        sealer: Sealer | None,
        stats: ServerStats,
    ) -> None:
        self.moved_at = trio.current_time()
        self.taken = 0
        self._sock = sock
        self._trio_sock = trio_sock
        self._sealer = sealer
        self._stats = stats
        self._begun: _Frame | None = None  # of which the socket may have a part
        self._small: deque[_Frame] = deque()
        self._large: deque[_Frame] = deque()
        self._filled = trio.Event()
        self._closed = False

    def __len__(self) -> int:
        """Frames that wait for the socket."""
        return len(self._small) + len(self._large) + (self._begun is not None)

    def send(self, messages: Sequence[Message]) -> None:
        """Send ``messages``, with one system call where they are small. Raises OSError, and then
        holds nothing."""
        if self._closed:
            raise OSError(EPIPE, "the connection has ended")
        small: list[bytes | bytearray] = []
        for message, source in messages:
            if source is not None:
                self._hand_over_small(small)
                small = []
                self._hand_over(self._with_payload(message, source))
                continue
            if self._sealer is not None:
                message = self._sealer.seal(message)
            small += (pack_frame(len(message)), message)
        self._hand_over_small(small)

    def _hand_over_small(self, parts: Sequence[bytes | bytearray]) -> None:
        if not parts:
            return
        frames = b"".join(parts)
        self._stats.wire_sent += len(frames)
        sent = 0
        if self._begun is None and not self._small and not self._large:
            try:
                sent = self._sock.send(frames)
            except BlockingIOError:
                sent = 0
            if sent == len(frames):
                return
            self.moved_at = trio.current_time()
        self._wait(_Frame([memoryview(frames)[sent:]]), self._small, begun=sent > 0)

    def _with_payload(self, message: bytes | bytearray, source: PayloadSource) -> _Frame:
        if self._sealer is not None:
            sealed = self._sealer.seal_both(message, source.view)
            return _Frame([memoryview(pack_frame(len(sealed))), sealed], source)
        framed = pack_frame(len(message) + source.length) + message
        return _Frame([memoryview(framed), source.view], source, reads=True)

    def _hand_over(self, frame: _Frame) -> None:
        """To the socket, what it takes; the rest to wait."""
        self._stats.wire_sent += sum(map(len, frame.parts))
        begun = False
        if not self:
            try:
                count = self._sock.sendmsg(frame.parts)
            except BlockingIOError:
                count = 0
            if frame.sent(count):
                return
            begun = count > 0
            self.moved_at = trio.current_time()
        self._wait(frame, self._large, begun=begun)

    def _wait(self, frame: _Frame, queue: deque[_Frame], *, begun: bool) -> None:
        """For ``run``. What is ``begun`` is gone on with before anything else."""
        frame.hold()
        if begun:
            self._begun = frame
        else:
            queue.append(frame)
        self._filled.set()

    async def run(self) -> None:
        """Send what waits. Raises OSError and trio's errors of a closed socket."""
        while True:
            await self._filled.wait()
            while self:
                frame = self._begun = self._begun or (self._small or self._large).popleft()
                count = await self._trio_sock.sendmsg(frame.parts)
                self.moved_at = trio.current_time()
                self.taken += count
                if frame.sent(count):
                    self._begun = None
                    frame.let_go()
            self._filled = trio.Event()

    def close(self) -> None:
        """Nothing can be sent any more, now or later: let go of what waits. Idempotent."""
        self._closed = True
        waiting = [*self._small, *self._large] + ([self._begun] if self._begun else [])
        self._begun = None
        self._small.clear()
        self._large.clear()
        for frame in waiting:
            frame.let_go()
