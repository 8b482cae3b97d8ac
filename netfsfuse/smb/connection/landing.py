"""The place in a reader's buffer where a READ reply is received whole.

The reply's header lies just below the target and an encrypted one's tag just above, so that it is
one piece of memory, to be verified or decrypted in place. What lies there may be another part of
the payload: it is put back before any task is told. Therefore only one reply at a time lands in a
buffer, whatever connection it comes by; another one waits.
"""

from __future__ import annotations

import trio

from netfsfuse.netfs.memory.buffer import PAGE, Buffer
from netfsfuse.smb.connection.exchange import Sink
from netfsfuse.smb.wire.read import REPLY_OVERHEAD


class Landings:
    """The buffers in which something lands now, on all connections of one share."""

    def __init__(self) -> None:
        self._busy: dict[Buffer, trio.Event | None] = {}

    def is_free(self, buffer: Buffer) -> bool:
        """Whether something may land there now."""
        return buffer not in self._busy

    async def wait_free(self, buffer: Buffer) -> None:
        """Return when something may land there; look again, another reply may have been quicker."""
        if buffer in self._busy:
            event = self._busy[buffer]
            if event is None:
                event = self._busy[buffer] = trio.Event()
            await event.wait()

    def begin(self, buffer: Buffer) -> None:
        """Something lands there from now on."""
        self._busy[buffer] = None

    def end(self, buffer: Buffer) -> None:
        """It has landed."""
        event = self._busy.pop(buffer)
        if event is not None:
            event.set()


class Landing:
    """A reply of ``length`` bytes (header included) and a tag of ``tail`` bytes behind it.

    ``whole`` is all of it, ``message`` is without the tag. ``sink`` has room for the payload. Ends
    with ``clear`` or ``wipe``, once.
    """

    __slots__ = ("_above", "_below", "_buffer", "_landings", "_length", "message", "whole")

    def __init__(self, landings: Landings, sink: Sink, length: int, tail: int = 0) -> None:
        start = PAGE + sink.at - REPLY_OVERHEAD
        self.whole = sink.buffer.memory[start : start + length + tail]
        self.message = self.whole[:length]
        self._length = length
        self._below = bytes(self.whole[:REPLY_OVERHEAD])
        self._above = bytes(self.whole[length:])
        self._landings = landings
        self._buffer = sink.buffer
        landings.begin(sink.buffer)

    def wipe(self) -> None:
        """It proved wrong, or never came whole: nothing of it stays."""
        self.whole[:] = bytes(len(self.whole))
        self.clear()

    def clear(self) -> None:
        """Put back what header and tag covered; the payload stays."""
        self.whole[self._length :] = self._above
        self.whole[:REPLY_OVERHEAD] = self._below
        self._landings.end(self._buffer)
