"""Counters of one mount. Layers add to them; ``netfsfuse stats`` shows :meth:`Stats.snapshot`.

All counters live on the trio loop: no locks. Every field is documented by its comment; nested
groups become nested JSON objects.
"""

from __future__ import annotations

import itertools
from dataclasses import asdict, dataclass, field
from typing import Any

STATS_XATTR = "user.netfsfuse.stats"
"""The mount's root serves the snapshot under this name, as JSON. An attribute needs no socket that
could be left behind, and may be read by any user who may enter the mount."""

OBJECT_XATTR = "user.netfsfuse.object"
"""A regular file on the mount shows where it is cached under this name, as JSON: ``cachedir``, and
the names of its ``volume`` and ``object``. ENODATA where it is not cached."""


CHANGES_XATTR = "user.netfsfuse.changes."
"""Followed by the number of the last change that is known, -1 for none: a directory answers with
what has happened below it on the server since, as JSON: ``next`` (-1 until the server tells)
and ``changes``. It does not wait: a program that waits inside the mount keeps it busy."""


@dataclass(slots=True)
class ApplicationStats:
    """What programs on the mount asked for."""

    bytes: int = 0  # bytes answered to reads
    reads: int = 0  # read calls answered
    joined: int = 0  # reads that straddled two buffers, the one payload copy we make
    errors: int = 0  # handlers that answered an unexpected EIO


@dataclass(slots=True)
class ServerStats:
    """What went over the wire."""

    bytes: int = 0  # payload bytes of READ replies
    reads: int = 0  # READ requests sent
    bytes_written: int = 0  # payload bytes that the server has taken by WRITEs
    writes: int = 0  # WRITE requests sent
    in_flight: int = 0  # READ requests sent and not answered now
    in_flight_peak: int = 0
    channels: int = 0  # TCP connections now
    credits: int = 0  # credits on hand now
    round_trip_ms: float = 0.0  # smoothed round trip of small requests
    reconnects: int = 0
    refused: str = ""  # why the server does not let us in now
    wire_received: int = 0  # all bytes received on the established connections
    wire_sent: int = 0
    messages: dict[str, int] = field(default_factory=dict)  # requests sent, by SMB2 command


@dataclass(slots=True)
class WriteStats:
    """What programs wrote, and how it goes to the server."""

    bytes: int = 0  # bytes that programs wrote
    writes: int = 0  # write calls
    requests: int = 0  # WRITE requests, each answered or failed
    in_flight: int = 0  # of them under way now
    in_flight_peak: int = 0
    dirty_bytes: int = 0  # written here and not answered by the server, now
    dirty_bytes_peak: int = 0
    window: int = 0  # bytes that may be under way
    sizes: dict[str, int] = field(default_factory=dict)  # requests by size, rounded up to 2^n bytes
    errors: int = 0  # requests that failed: their bytes were given up

    def note_request(self, length: int) -> None:
        """A request for ``length`` bytes goes out."""
        size = str(1 << (length - 1).bit_length())
        self.sizes[size] = self.sizes.get(size, 0) + 1
        self.requests += 1
        self.in_flight += 1
        if self.in_flight > self.in_flight_peak:
            self.in_flight_peak = self.in_flight

    def note_dirty(self, change: int) -> None:
        """So many more bytes are dirty."""
        self.dirty_bytes += change
        if self.dirty_bytes > self.dirty_bytes_peak:
            self.dirty_bytes_peak = self.dirty_bytes


@dataclass(slots=True)
class CacheStats:
    """What the disk cache gave and took."""

    enabled: bool = False
    bytes_read: int = 0
    bytes_stored: int = 0
    misses: int = 0  # cache reads that turned out not to be usable and went to the server
    errors: int = 0  # I/O errors of the cache, each survived
    refused: int = 0  # stores that found no room under the limits
    culled: int = 0  # bytes this mount freed to make room
    invalidated: int = 0  # objects dropped because the server's file changed


@dataclass(slots=True)
class MemoryStats:
    """Buffers of the data plane."""

    buffers_bytes: int = 0
    buffers_bytes_peak: int = 0


@dataclass(slots=True)
class VfsStats:
    """What the kernel holds of us."""

    inodes: int = 0
    handles: int = 0
    watches: int = 0  # directories of which the server tells what changes
    notifications: int = 0  # changes it has told
    echoes: int = 0  # of those, our own
    fetched: int = 0  # files and listings that were fetched ahead of their reader
    wasted: int = 0  # of those, dropped without having been used
    from_memory: int = 0  # questions answered as was remembered, for the server was away


@dataclass(slots=True)
class TaskStats:
    """What goes on behind the calls of programs."""

    failed: int = 0  # tasks that ended by an exception that was not foreseen, each survived

    def note_failed(self) -> None:
        """One more."""
        self.failed += 1


@dataclass(slots=True)
class Stats:
    """All counters of a mount."""

    application: ApplicationStats = field(default_factory=ApplicationStats)
    server: ServerStats = field(default_factory=ServerStats)
    write: WriteStats = field(default_factory=WriteStats)
    cache: CacheStats = field(default_factory=CacheStats)
    memory: MemoryStats = field(default_factory=MemoryStats)
    vfs: VfsStats = field(default_factory=VfsStats)
    tasks: TaskStats = field(default_factory=TaskStats)
    trust: dict[str, int] = field(default_factory=dict)  # decisions of ``Judge``, by their reason
    _debug_ids: itertools.count[int] = field(default_factory=lambda: itertools.count(1))

    def next_debug_id(self) -> int:
        """A number for one request, so that its log lines can be tied together."""
        return next(self._debug_ids)

    def snapshot(self) -> dict[str, Any]:
        """A deep copy as plain dicts, ready for JSON."""
        whole = {
            "application": asdict(self.application),
            "server": asdict(self.server),
            "write": asdict(self.write),
            "cache": asdict(self.cache),
            "memory": asdict(self.memory),
            "vfs": asdict(self.vfs),
            "tasks": asdict(self.tasks),
            "trust": {str(reason): count for reason, count in self.trust.items()},
        }
        whole["server"]["round_trip_ms"] = round(self.server.round_trip_ms, 3)
        return whole
