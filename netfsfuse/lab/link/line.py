"""Where a delay line keeps the bytes of one direction of one connection: in pipes, or in memory.

``PipeStore`` moves them from socket to pipe to socket with splice(2): pages change owner, nothing
is copied, and the process's own memory does not grow. ``MemoryStore`` receives into buffers and
sends from them; it works everywhere. Both are first in, first out, and know nothing of time.

Measured between two local processes, two busy cores for all three, interleaved, two runs each:

=========== ================== =============== ================== ===============
round trip  splice, MB/s       CPU s per GiB   memory, MB/s       CPU s per GiB
=========== ================== =============== ================== ===============
0           419, 1011          0.67, 0.42      788, 737           0.87, 0.84
1 ms        1385, 1415         0.53, 0.51      904, 823           1.05, 1.20
10 ms       1067, 1339         0.53, 0.57      866, 893           1.12, 1.11
50 ms       1310, 871          0.59, 0.50      862, 739           0.84, 0.95
200 ms      959, 826           0.45, 0.51      742, 759           0.93, 0.87
=========== ================== =============== ================== ===============
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import socket
from collections import deque
from typing import Protocol

_PIPE_BYTES = 1 << 20
"""256 slots. A slot takes one fragment of a received packet, 4 to 32 KiB on loopback."""

_SPARE_PIPES = 64
"""Kept open for the next burst; more are closed. Opening one costs 20 us."""

_BUFFER_BYTES = 256 * 1024


class Store(Protocol):
    """The bytes that are on their way. Sockets are non-blocking; the maker closes it."""

    def take(self, source: socket.socket, most: int) -> int:
        """Receive up to ``most`` bytes; 0 is the end. BlockingIOError: nothing there just now.

        Raises BufferError where no more can be kept; there is room again after a :meth:`give`.
        """

    def give(self, sink: socket.socket, most: int) -> int:
        """Send up to ``most`` of the oldest bytes; how many went. BlockingIOError: none."""

    def close(self) -> None:
        """Drop everything. Idempotent."""


class _Pipe:
    """One pipe and how many bytes are in it."""

    def __init__(self) -> None:
        self.out, self.into = os.pipe2(os.O_NONBLOCK | os.O_CLOEXEC)
        self.held = 0
        # Refused to an ordinary user who has 64 MiB in pipes already: then it stays small.
        with contextlib.suppress(OSError):
            fcntl.fcntl(self.into, fcntl.F_SETPIPE_SZ, _PIPE_BYTES)

    def close(self) -> None:
        os.close(self.out)
        os.close(self.into)


class PipeStore:
    """A queue of pipes: filled at the last, emptied at the first."""

    def __init__(self) -> None:
        self._pipes = deque([_Pipe()])
        self._spare: list[_Pipe] = []

    def take(self, source: socket.socket, most: int) -> int:
        pipe = self._pipes[-1]
        try:
            count = _splice(source.fileno(), pipe.into, most)
        except BlockingIOError:
            # The same error says "pipe full" and "nothing received".
            if pipe.held == 0:
                raise
            pipe = self._new_pipe()
            try:
                count = _splice(source.fileno(), pipe.into, most)
            except BaseException:
                self._spare.append(pipe)
                raise
            self._pipes.append(pipe)
        pipe.held += count
        return count

    def give(self, sink: socket.socket, most: int) -> int:
        pipe = self._pipes[0]
        count = _splice(pipe.out, sink.fileno(), min(most, pipe.held))
        pipe.held -= count
        if pipe.held == 0 and len(self._pipes) > 1:
            self._pipes.popleft()
            if len(self._spare) < _SPARE_PIPES:
                self._spare.append(pipe)
            else:
                pipe.close()
        return count

    def close(self) -> None:
        for pipe in (*self._pipes, *self._spare):
            pipe.close()
        self._pipes.clear()
        self._spare.clear()

    def _new_pipe(self) -> _Pipe:
        if self._spare:
            return self._spare.pop()
        try:
            return _Pipe()
        except OSError as error:  # no file descriptor left
            raise BufferError(str(error)) from error


def _splice(source: int, sink: int, count: int) -> int:
    return os.splice(source, sink, count, flags=os.SPLICE_F_NONBLOCK | os.SPLICE_F_MOVE)


class MemoryStore:
    """A queue of buffers of one size: filled at the last, emptied at the first."""

    def __init__(self) -> None:
        self._buffers = deque([memoryview(bytearray(_BUFFER_BYTES))])
        self._spare: list[memoryview] = []
        self._filled = 0
        self._emptied = 0

    def take(self, source: socket.socket, most: int) -> int:
        if self._filled == _BUFFER_BYTES:
            fresh = self._spare.pop() if self._spare else memoryview(bytearray(_BUFFER_BYTES))
            self._buffers.append(fresh)
            self._filled = 0
        count = source.recv_into(self._buffers[-1][self._filled : self._filled + most])
        self._filled += count
        return count

    def give(self, sink: socket.socket, most: int) -> int:
        end = _BUFFER_BYTES if len(self._buffers) > 1 else self._filled
        count = sink.send(self._buffers[0][self._emptied : min(end, self._emptied + most)])
        self._emptied += count
        if self._emptied == _BUFFER_BYTES and len(self._buffers) > 1:
            self._spare.append(self._buffers.popleft())
            self._emptied = 0
        elif self._emptied == end and len(self._buffers) == 1:
            self._emptied = self._filled = 0  # start at the front again: it is in the CPU's cache
        return count

    def close(self) -> None:
        self._buffers.clear()
        self._spare.clear()
