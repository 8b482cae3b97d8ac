"""What ``netfsfuse stats`` makes of the counters."""

from __future__ import annotations

from netfsfuse.cli.stats import flatten


def test_writing_as_a_person_reads_it() -> None:
    group = {
        "bytes": 1 << 20,
        "writes": 16384,
        "dirty_bytes": 3 << 19,
        "dirty_bytes_peak": 64 << 20,
        "window": 8 << 20,
        "sizes": {"65536": 1200, "1048576": 3},
    }
    server = {"bytes_written": 5, "writes": 7000}
    assert dict(flatten({"write": group, "server": server})) == {
        "write.bytes": "1.0 MiB",
        "write.writes": "16,384",
        "write.dirty_bytes": "1.5 MiB",
        "write.dirty_bytes_peak": "64.0 MiB",
        "write.window": "8.0 MiB",
        "write.sizes.65536": "1,200",
        "write.sizes.1048576": "3",
        "server.bytes_written": "5 B",
        "server.writes": "7,000",
    }
