"""The figures that this project set itself to reach, held beside what was measured. Pure.

Each is wanted at least (or at most); ``aim`` is what it hopes for. A figure whose cell did not run
is listed as not measured: silence would look like success.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from enum import Enum

from netfsfuse.lab.bench.results import CellResult, Results

OURS, RCLONE, SMBCLIENT = "ours", "rclone mount", "smbclient"
MIB = 1024 * 1024


class Outcome(Enum):
    """How a figure came out."""

    MET = "met"
    AIM_MET = "met, and the aim"
    NOT_MET = "not met"
    NOT_MEASURED = "not measured"


@dataclass(frozen=True, slots=True)
class Verdict:
    """One figure. ``wanted`` is the least, or with ``at_most`` the most, that is enough."""

    what: str
    wanted: float
    aim: float
    got: float | None
    unit: str = "x"
    at_most: bool = False

    @property
    def outcome(self) -> Outcome:
        """Wanted and aim against got."""
        if self.got is None:
            return Outcome.NOT_MEASURED
        if self._reaches(self.aim):
            return Outcome.AIM_MET if self.aim != self.wanted else Outcome.MET
        return Outcome.MET if self._reaches(self.wanted) else Outcome.NOT_MET

    def _reaches(self, limit: float) -> bool:
        assert self.got is not None
        return self.got <= limit if self.at_most else self.got >= limit


def verdicts(results: Results) -> list[Verdict]:
    """All of them, in the order of the list they were set in."""
    parts = (_cold, _distant, _cached, _tree, _costs)
    return [verdict for part in parts for verdict in part(results)]


def _cold(results: Results) -> Iterator[Verdict]:
    cold, nofsc = _cell(results, "cold", 0.0), _cell(results, "cold-nofsc", 0.0)
    yield Verdict("cold, against rclone", 5, 6, _ratio(cold, OURS, RCLONE))
    stored = _median(cold, OURS, "stored_share")
    yield Verdict("cold, in the cache after the read", 99, 99, _percent(stored), " %")
    again = _median(cold, OURS, "again_server_share")
    yield Verdict("remount, asked of the server", 1, 0, _percent(again), " %", at_most=True)
    got = _ratio(nofsc, "ours, nofsc", SMBCLIENT)
    yield Verdict("cold with nofsc, against smbclient", 0.75, 1, got)


def _distant(results: Results) -> Iterator[Verdict]:
    near, far = _cell(results, "cold", 0.010), _cell(results, "cold", 0.050)
    yield Verdict("10 ms, against rclone", 12, 12, _ratio(near, OURS, RCLONE))
    yield Verdict("10 ms, against smbclient", 1, 1, _ratio(near, OURS, SMBCLIENT))
    yield Verdict("50 ms, against rclone", 25, 30, _ratio(far, OURS, RCLONE))
    yield Verdict("50 ms, against smbclient with login", 2.5, 3, _ratio(far, OURS, SMBCLIENT))
    yield Verdict("the same, our mount counted too", 2.5, 3, _with_mount(far))
    here, bare = _cell(results, "proxy", 0.0), _cell(results, "cold-nofsc", 0.050)
    yield Verdict("50 ms, of our rate through it at 0 ms", 60, 80, _share(far, here, OURS), " %")
    share = _share(bare, here, "ours, nofsc")
    yield Verdict("the same, nofsc", 60, 80, share, " %")


def _cached(results: Results) -> Iterator[Verdict]:
    warm, again = _cell(results, "warm", 0.0), _cell(results, "reopen", 0.0)
    yield Verdict("warm, against rclone", 1.6, 2, _ratio(warm, OURS, RCLONE))
    yield Verdict("warm, against dd", 0.5, 0.8, _ratio(warm, OURS, "dd of the backing file"))
    reads = _median(again, OURS, "server_reads")
    yield Verdict("re-open, server reads", 0, 0, reads, "", at_most=True)


def _tree(results: Results) -> Iterator[Verdict]:
    wanted = {("find", 0.0): 3, ("find", 0.010): 8, ("grep", 0.0): 2, ("grep", 0.010): 20}
    for (work, trip), least in wanted.items():
        cell = _tree_cell(results, work, trip)
        found = cell.ratio(OURS, RCLONE, "files_per_second") if cell else None
        got = None if found is None else found.median
        yield Verdict(f"{work} at {trip * 1000:g} ms, against rclone", least, least, got)
    far = _tree_cell(results, "grep", 0.010)
    rate = _median(far, OURS, "files_per_second")
    seconds = None if not rate else 10_000 / rate
    yield Verdict("10,000 files at 10 ms", 20, 10, seconds, " s", at_most=True)
    sent = _median(far, OURS, "again_messages")
    yield Verdict("grep again, requests to the server", 100, 0, sent, "", at_most=True)


def _tree_cell(results: Results, work: str, trip: float) -> CellResult | None:
    return _find(results, "tree", lambda cell: (cell.work, cell.round_trip) == (work, trip))


def _costs(results: Results) -> Iterator[Verdict]:
    cold, far = _cell(results, "cold", 0.0), _cell(results, "parallel", 0.050)
    spent = cold.ratio(RCLONE, OURS, "cpu_per_gib") if cold else None
    got = None if spent is None else spent.median
    yield Verdict("CPU per GiB: rclone's is", 8, 10, got, "x ours")
    rss = _median(far, OURS, "peak_rss")
    got = None if rss is None else rss / MIB
    yield Verdict("peak RSS, 8 readers at 50 ms", 200, 200, got, " MiB", at_most=True)
    first = next(iter(results.cells_of("first-byte")), None)
    idle, busy = _median(first, OURS, "idle_seconds"), _median(first, OURS, "busy_seconds")
    limit = 30.0 if idle is None else (3 * idle + 0.010) * 1000
    got = None if busy is None else busy * 1000
    yield Verdict("first byte beside a copy", limit, limit, got, " ms", at_most=True)
    yield from _small_reads(results)
    pair = _find(results, "parallel", lambda cell: cell.work == "shared")
    share = _median(pair, OURS, "server_share")
    yield Verdict("two readers of one file, server bytes", 1.05, 1.05, share, at_most=True)


def _small_reads(results: Results) -> Iterator[Verdict]:
    cells = results.cells_of("random")
    for name, kib in ((OURS, 64.0), ("ours, nofsc", 16.0)):
        seen = [_median(cell, name, "server_bytes_a_cold_read") for cell in cells]
        moved = [one / 1024 for one in seen if one is not None]
        what = f"random 4 KiB, {name}: moved for each"
        yield Verdict(what, kib, kib, max(moved, default=None), " KiB", at_most=True)


def _find(results: Results, row: str, wanted: Callable[[CellResult], bool]) -> CellResult | None:
    return next((cell for cell in results.cells_of(row) if wanted(cell)), None)


def _cell(results: Results, row: str, round_trip: float) -> CellResult | None:
    return _find(results, row, lambda cell: cell.round_trip == round_trip)


def _ratio(cell: CellResult | None, ours: str, theirs: str) -> float | None:
    found = cell.ratio(ours, theirs) if cell else None
    return None if found is None else found.median


def _with_mount(cell: CellResult | None) -> float | None:
    """Our rate against smbclient's when mounting is part of our time, as login is of its."""
    ours = cell.column(OURS) if cell else None
    theirs = _median(cell, SMBCLIENT, "rate")
    mounting = _median(cell, OURS, "mount_seconds")
    if ours is None or not theirs or mounting is None:
        return None
    rates = sorted(run.bytes / (run.seconds + mounting) for run in ours.runs)
    return rates[len(rates) // 2] / theirs


def _median(cell: CellResult | None, name: str, of: str) -> float | None:
    column = cell.column(name) if cell else None
    return None if column is None else column.median(of)


def _share(far: CellResult | None, near: CellResult | None, name: str) -> float | None:
    """A contender's rate in one cell, in percent of its rate in another one."""
    there, here = _median(far, name, "rate"), _median(near, name, "rate")
    return _percent(there / here) if here and there else None


def _percent(share: float | None) -> float | None:
    return None if share is None else share * 100
