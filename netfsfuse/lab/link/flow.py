"""One direction of one proxied connection: bytes between a socket, a delay line and a socket."""

from __future__ import annotations

import socket
from collections import deque

from netfsfuse.lab.link.line import Store
from netfsfuse.lab.link.wire import Wire


class Reset(Exception):
    """The connection is to be dropped at once, with a reset to both sides."""


class Flow:
    """Takes from ``source`` and gives to ``sink``, both non-blocking, when ``wire`` says so.

    Owns ``store``, not the sockets. The end of the stream and a reset travel as bytes do, and
    arrive after them. Times are those of the monotonic clock that ``wire`` is given.
    """

    def __init__(
        self, source: socket.socket, sink: socket.socket, wire: Wire, store: Store
    ) -> None:
        self.source = source
        self.sink = sink
        self.taking = True
        """Whether the source has not ended."""
        self.blocked = False
        """Whether the sink refused bytes: try again once it is writable."""
        self.done = False
        """Whether the end has been passed on."""
        self.last_taken = 0.0
        """When something was taken last: among several the one that waited longest goes first."""
        self._wire = wire
        self._store = store
        self._pieces: deque[tuple[float, int]] = deque()  # (departure, bytes)
        self._head = 0  # bytes of the first piece that went out already
        self._reset = False

    @property
    def wants(self) -> bool:
        """Whether bytes of the source may enter the wire now."""
        return self.taking and not self._wire.full

    @property
    def next_departure(self) -> float | None:
        """When :meth:`give` has something to do; None while the sink refuses or all is out."""
        return self._pieces[0][0] if self._pieces and not self.blocked else None

    def take(self, now: float) -> None:
        """Let in one piece of what the source has received by ``now``."""
        self.last_taken = now
        try:
            count = self._store.take(self.source, self._wire.piece)
        except (BlockingIOError, BufferError):
            return
        except OSError:
            count = 0
            self._reset = True
        if count == 0:
            self.taking = False
        self._pieces.append((self._wire.enter(now, count), count))

    def give(self, now: float) -> None:
        """Pass on what is due at ``now``. Raises :class:`Reset` when the sink is gone."""
        self.blocked = False
        while self._pieces and self._pieces[0][0] <= now:
            length = self._pieces[0][1]
            try:
                if length == 0:
                    self._end()
                while self._head < length:
                    sent = self._store.give(self.sink, length - self._head)
                    self._head += sent
                    self._wire.leave(sent)
            except BlockingIOError:
                self.blocked = True
                return
            except OSError as error:
                raise Reset from error
            self._head = 0
            self._pieces.popleft()

    def close(self) -> None:
        """Drop what is held. Idempotent."""
        self._wire.leave(sum(length for _, length in self._pieces) - self._head)
        self._pieces.clear()
        self._head = 0
        self._store.close()

    def _end(self) -> None:
        if self._reset:
            raise Reset
        self.sink.shutdown(socket.SHUT_WR)
        self.done = True
