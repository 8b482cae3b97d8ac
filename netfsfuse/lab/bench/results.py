"""What was measured, as plain data: to JSON and back. Pure.

Units: seconds, bytes, bytes/s. A change of a field's meaning raises :data:`SCHEMA`.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any

from netfsfuse.lab.bench.spread import Spread, paired_ratio, spread

SCHEMA = 1
GIB = 1024**3


@dataclass(slots=True)
class Run:
    """One run of one contender. None: not measured, or has no meaning for it."""

    seconds: float = 0.0  # wall time of the reading program
    bytes: int = 0  # what it read
    client_cpu: float | None = None  # s, the client's process with its children
    reader_cpu: float | None = None  # s, the reading program; for smbclient that is the client
    peak_rss: int | None = None  # bytes, the client's
    in_flight_peak: int | None = None  # reads sent and not answered
    server_reads: int | None = None
    server_bytes: int | None = None
    figures: dict[str, float] = field(default_factory=dict)  # what only this kind of work has

    @property
    def rate(self) -> float:
        """Bytes/s."""
        return self.bytes / self.seconds if self.seconds else 0.0

    @property
    def reader_cpu_per_gib(self) -> float | None:
        """The reading program's CPU seconds for each GiB read."""
        if self.reader_cpu is None or not self.bytes:
            return None
        return self.reader_cpu * GIB / self.bytes

    @property
    def cpu_per_gib(self) -> float | None:
        """The client's CPU seconds for each GiB read."""
        if self.client_cpu is None or not self.bytes:
            return None
        return self.client_cpu * GIB / self.bytes


@dataclass(slots=True)
class Column:
    """One contender's runs in one cell, or why there are none."""

    name: str
    kind: str
    runs: list[Run] = field(default_factory=list)
    not_run: str = ""

    def values(self, of: str) -> list[float]:
        """A property or figure of each run that has it."""
        seen = [run.figures.get(of, getattr(run, of, None)) for run in self.runs]
        return [float(value) for value in seen if value is not None]

    def spread(self, of: str) -> Spread | None:
        """Median and ends of a property or figure."""
        return spread(self.values(of))

    def median(self, of: str) -> float | None:
        """The median of a property or figure."""
        found = self.spread(of)
        return None if found is None else found.median


@dataclass(slots=True)
class CellResult:
    """One cell. ``ceiling`` is what the proxy or TUN device itself carries, ``added`` its delay."""

    row: str
    work: str
    condition: str
    round_trip: float
    rate: int | None
    columns: list[Column] = field(default_factory=list)
    protection: str = ""
    depth: int = 1
    ceiling: float | None = None
    added: float | None = None
    took: float = 0.0  # s, with mounts, files made and probes
    notes: list[str] = field(default_factory=list)

    def column(self, name: str) -> Column | None:
        """The contender of that name, if it ran."""
        return next((c for c in self.columns if c.name == name and c.runs), None)

    def ratio(self, ours: str, theirs: str, of: str = "rate") -> Spread | None:
        """Ours against theirs by paired rounds; above 1 means that ours has more of it."""
        a, b = self.column(ours), self.column(theirs)
        return paired_ratio(a.values(of), b.values(of)) if a and b else None


@dataclass(slots=True)
class Results:
    """All of a run, complete or as far as it came."""

    machine: dict[str, str] = field(default_factory=dict)
    settings: dict[str, Any] = field(default_factory=dict)
    cells: list[CellResult] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    complete: bool = False

    def cells_of(self, row: str) -> list[CellResult]:
        """The cells of a row."""
        return [cell for cell in self.cells if cell.row == row]

    def to_json(self) -> dict[str, Any]:
        """Plain data with the schema's version; each run with the rates derived from it."""
        whole = {"schema": SCHEMA, **asdict(self)}
        for cell, shown in zip(self.cells, whole["cells"], strict=True):
            for column, shown_column in zip(cell.columns, shown["columns"], strict=True):
                for run, shown_run in zip(column.runs, shown_column["runs"], strict=True):
                    shown_run["rate"] = run.rate
                    shown_run["cpu_per_gib"] = run.cpu_per_gib
        return whole


def cells_from_json(whole: Mapping[str, Any]) -> list[CellResult]:
    """The cells of what :meth:`Results.to_json` made."""
    cells = []
    for shown in whole["cells"]:
        columns = [_column(column) for column in shown["columns"]]
        cells.append(CellResult(**{**shown, "columns": columns}))
    return cells


def _column(shown: Mapping[str, Any]) -> Column:
    derived = ("rate", "cpu_per_gib")
    runs = [Run(**{k: v for k, v in run.items() if k not in derived}) for run in shown["runs"]]
    return Column(shown["name"], shown["kind"], runs, shown["not_run"])
