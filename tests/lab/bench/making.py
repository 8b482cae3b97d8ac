"""Results made by hand."""

from __future__ import annotations

from netfsfuse.lab.bench.plan import Cell
from netfsfuse.lab.bench.results import CellResult, Results, Run
from netfsfuse.lab.bench.rows import build_plan
from netfsfuse.lab.bench.runner import new_result

GIB = 1024**3


def result_of(cell: Cell, rates: dict[str, list[float]]) -> CellResult:
    """A cell in which contenders read 1 GiB at so many MB/s, a round each."""
    result = new_result(cell)
    for column in result.columns:
        for rate in rates.get(column.name, []):
            column.runs.append(
                Run(GIB / (rate * 1e6), GIB, client_cpu=1.5, reader_cpu=0.2, peak_rss=80 << 20)
            )
        if not column.runs:
            column.not_run = "not installed"
    return result


def results_of(row: str, *rates: dict[str, list[float]]) -> Results:
    """Results with the first cells of a row, one for each of ``rates``."""
    cells = [result_of(cell, given) for cell, given in zip(build_plan([row]), rates, strict=False)]
    return Results(machine={"cpu": "Test <CPU>", "kernel": "6.18"}, cells=cells)
