"""The link's window divided between all streams of all handles: max-min fair.

A stream states a wish and is granted a window. Those that wish for less than an equal part get
their wish; what they leave is divided among the others (water filling). So two copies get half
each, and one copy beside a film that needs 2 MiB gets all but 2 MiB.
"""

from __future__ import annotations

from netfsfuse.netfs.readahead.answer import block_floor
from netfsfuse.netfs.readahead.config import AheadConfig
from netfsfuse.netfs.readahead.growth import Growth

IDLE = 1.0
"""Seconds without a read after which a stream's share goes to others: longer than a reader takes
for its next megabyte on a link that is worth reading ahead on."""

IDLE_READS = 64
"""Reads of others after which it does: a stream that is read so much more rarely needs no window
to keep up."""

CHECK = 0.25
CHECK_READS = 16
"""Idle streams are looked for that often, in seconds and in reads."""


class Shares:
    """All active streams of the mount. ``known``: whether the link's window is a measured one."""

    __slots__ = ("_capacity", "_config", "_streams", "check_at", "check_reads", "known", "reads")

    def __init__(self, config: AheadConfig, capacity: int) -> None:
        self._config = config
        self._capacity = capacity
        self.known = config.pinned > 0
        self._streams: list[Growth] = []
        self.reads = 0
        self.check_at = 0.0
        self.check_reads = 0

    @property
    def capacity(self) -> int:
        """Bytes of all windows together."""
        return self._capacity

    @property
    def granted(self) -> int:
        """Bytes of windows granted now."""
        return sum(stream.window for stream in self._streams)

    def set_capacity(self, capacity: int) -> None:
        """More or less is to be shared from now on."""
        if capacity != self._capacity:
            self._capacity = capacity
            self.settle()

    def join(self, stream: Growth) -> None:
        """It is active; its wish counts from the next :meth:`settle` on."""
        if not stream.active:
            stream.active = True
            self._streams.append(stream)

    def leave(self, stream: Growth) -> None:
        """It gives its share back. Idempotent."""
        if stream.active:
            stream.active = False
            stream.grant(0)
            self._streams.remove(stream)
            self.settle()

    def settle(self) -> None:
        """Grant windows by the wishes as they are."""
        streams = self._streams
        left = min(self._capacity, self._config.budget)
        rasize = self._config.rasize
        if len(streams) == 1:
            stream = streams[0]
            stream.grant(block_floor(min(stream.wish, left, rasize)))
            return
        handles: dict[int, int] = {}
        for stream in streams:
            handles[stream.handle] = handles.get(stream.handle, 0) + 1
        waiting = len(streams)
        for stream in sorted(streams, key=_wish):
            most = min(left // waiting, rasize // handles[stream.handle])
            window = block_floor(min(stream.wish, most))
            stream.grant(window)
            left -= window
            waiting -= 1

    def expire(self, now: float) -> None:
        """Take back the shares of those that have been idle."""
        self.check_at = now + CHECK
        self.check_reads = self.reads + CHECK_READS
        for stream in list(self._streams):
            if now - stream.read_at > IDLE or self.reads - stream.read_count > IDLE_READS:
                self.leave(stream)


def _wish(stream: Growth) -> int:
    return stream.wish
