"""The results as rich shows them: a line for each contender of each cell, the sweep as a matrix."""

from __future__ import annotations

from collections.abc import Iterator

from rich.box import SIMPLE_HEAD
from rich.table import Table
from rich.text import Text

from netfsfuse.lab.bench.results import CellResult, Column, Results
from netfsfuse.lab.bench.spread import Spread

MB = 1_000_000  # rates are in the unit that disks and links are sold in
MIB = 1024 * 1024
SWEEP = "sweep"


def machine_line(results: Results) -> str:
    """One line that names the machine and the programs."""
    return ", ".join(f"{name} {value}" for name, value in results.machine.items())


def main_table(results: Results, *, narrow: bool = False) -> Table:
    """Everything but the sweep. ``narrow`` leaves out what 80 columns have no room for."""
    table = _table("Measured")
    for name in ("row", "condition", "contender"):
        table.add_column(name, no_wrap=name == "row")
    shown = [n for n, name in enumerate(_COLUMNS) if not (narrow and name in _WIDE_ONLY)]
    for number in shown:
        table.add_column(_COLUMNS[number], justify="right", no_wrap=True)
    for cell in results.cells:
        if cell.row != SWEEP:
            for number, (names, figures) in enumerate(_lines(cell)):
                line = [*names, *(figures[n] for n in shown)]
                last = number == len(cell.columns) - 1
                table.add_row(*(Text(word) for word in line), end_section=last)
    return table


_COLUMNS = ("MiB", "MB/s", "(spread)", "ours is", "CPU s/GiB", "reader", "RSS MiB", "flying")
_WIDE_ONLY = ("MiB", "(spread)", "reader", "flying")


def _lines(cell: CellResult) -> Iterator[tuple[list[str], list[str]]]:
    """The three names and the figures of each contender."""
    for number, column in enumerate(cell.columns):
        names = [cell.row, cell.condition] if number == 0 else ["", ""]
        figures = _figures(cell, column) if column.runs else ["", "not run"]
        yield [*names, column.name], [*figures, *[""] * (len(_COLUMNS) - len(figures))]


def _figures(cell: CellResult, column: Column) -> list[str]:
    ours = cell.columns[0]
    measure, shown = _MEASURES.get(cell.work, ("rate", _megabytes))
    return [
        str(round(column.runs[-1].bytes / MIB)) if column.runs[-1].bytes else "",
        *_spread(column.spread(measure), shown),
        "" if column is ours else _times(ours_is(cell, column)),
        _number(column.median("cpu_per_gib")) if cell.work not in _SMALL else "",
        _number(column.median("reader_cpu_per_gib")) if cell.work not in _SMALL else "",
        _number(column.median("peak_rss"), MIB, 0),
        _number(column.median("in_flight_peak"), 1, 0),
    ]


def ours_is(cell: CellResult, column: Column) -> Spread | None:
    """How many times as good the cell's first contender is as this one, by paired rounds."""
    ours = cell.columns[0]
    measure, _ = _MEASURES.get(cell.work, ("rate", None))
    if measure in _LESS_IS_BETTER:
        return cell.ratio(column.name, ours.name, measure)
    return cell.ratio(ours.name, column.name, measure)


def _megabytes(value: float) -> str:
    return f"{value / MB:.0f}" if value >= 10 * MB else f"{value / MB:.2g}"


def _milliseconds(value: float) -> str:
    return f"{value * 1000:.1f} ms"


def _iops(value: float) -> str:
    return f"{value:.0f} IOPS"


def _files(value: float) -> str:
    return f"{value:.0f} files/s"


_MEASURES = {
    "first_byte": ("idle_seconds", _milliseconds),
    "random": ("iops", _iops),
    "find": ("files_per_second", _files),
    "grep": ("files_per_second", _files),
    "untar": ("files_per_second", _files),
}
"""Works that are not about MB/s."""
_LESS_IS_BETTER = {"idle_seconds", "busy_seconds"}
_SMALL = {"first_byte", "random", "find", "grep", "untar"}


def _spread(found: Spread | None, shown: object) -> tuple[str, str]:
    if found is None or not callable(shown):
        return "", ""
    ends = "" if found.least == found.most else f"{shown(found.least)}..{shown(found.most)}"
    return shown(found.median), ends


def _times(found: Spread | None) -> str:
    return (
        ""
        if found is None
        else f"{found.median:.1f}x"
        if found.median < 10
        else (f"{found.median:.0f}x")
    )


def _number(value: float | None, unit: float = 1, digits: int = 2) -> str:
    return "" if value is None else f"{value / unit:.{digits}f}"


def sweep_table(results: Results) -> Table | None:
    """MB/s of each shape (down) on each link (across), the best of each link in bold."""
    cells = [cell for cell in results.cells_of(SWEEP) if any(c.runs for c in cell.columns)]
    if not cells:
        return None
    table = _table("Reads in flight, and their size: MB/s (median)")
    table.add_column("shape")
    for cell in cells:
        table.add_column(cell.condition, justify="right")
    for column in cells[0].columns:
        table.add_row(column.name, *(_sweep_entry(cell, column.name) for cell in cells))
    return table


def _sweep_entry(cell: CellResult, name: str) -> Text:
    rates = {column.name: column.median("rate") or 0.0 for column in cell.columns}
    best = rates.get(name, 0.0) == max(rates.values()) and rates.get(name, 0.0) > 0
    return Text(_megabytes(rates.get(name, 0.0)), style="bold" if best else "")


def notes(results: Results) -> list[str]:
    """What belongs to the figures, a line each: delays, the cache, what was not run and why."""
    return [*results.notes, *(line for cell in results.cells for line in _cell_notes(cell))]


def _cell_notes(cell: CellResult) -> Iterator[str]:
    where = f"{cell.row}, {cell.condition}"
    if cell.ceiling is not None and cell.added is not None:
        yield (
            f"{where}: the link itself carries {cell.ceiling / MB:.0f} MB/s "
            f"and adds {cell.added * 1000:.2f} ms"
        )
    for column in cell.columns:
        for line in _figure_notes(column):
            yield f"{where}, {column.name}: {line}"
    yield from _not_run_notes(cell, where)
    yield from (f"{where}: {note}" for note in cell.notes)


def _not_run_notes(cell: CellResult, where: str) -> Iterator[str]:
    """Why contenders did not run, one line for those with the same reason."""
    reasons: dict[str, list[str]] = {}
    for column in cell.columns:
        if column.not_run:
            reasons.setdefault(column.not_run, []).append(column.name)
    for reason, names in reasons.items():
        yield f"{where}, {', '.join(names)}: not run: {reason}"


def _figure_notes(column: Column) -> Iterator[str]:
    """Sentences for the figures that have no column of their own."""
    if (stored := column.median("stored_share")) is not None:
        again = column.median("again_server_share")
        rest = "" if again is None else f"; a remount asked the server for {again:.1%} of it"
        yield f"{stored:.1%} of the file was in the cache after the read{rest}"
    if (share := column.median("from_server_share")) is not None:
        yield f"{share:.1%} came from the server"
    if (share := column.median("server_share")) is not None:
        yield f"the two together moved {share:.2f} times the file"
    if (busy := column.median("busy_seconds")) is not None:
        idle, most = column.median("idle_seconds") or 0.0, column.median("busy_most_seconds") or 0.0
        yield (
            f"first byte {_milliseconds(idle)} alone, {_milliseconds(busy)} beside a big copy "
            f"(at worst {_milliseconds(most)})"
        )
    if (cpu := column.median("cpu_a_file")) is not None:
        yield f"{cpu * 1e6:.0f} us of CPU a file"
    if (again := column.median("again_per_second")) is not None:
        sent = column.median("again_messages")
        asked = "" if sent is None else f", with {sent:.0f} requests to the server"
        yield f"once more: {again:.0f} files/s{asked}"
    if (latency := column.median("latency_seconds")) is not None:
        p99 = column.median("latency_p99_seconds") or 0.0
        moved = column.median("server_bytes_a_read")
        server = "" if moved is None else f", {moved / 1024:.1f} KiB from the server for each"
        if (cold := column.median("server_bytes_a_cold_read")) is not None:
            server += f" ({cold / 1024:.1f} KiB where all was cold)"
        yield f"{_milliseconds(latency)} a read, 99th {_milliseconds(p99)}{server}"


def _table(title: str) -> Table:
    return Table(
        title=title, title_justify="left", box=SIMPLE_HEAD, padding=(0, 1, 0, 0), pad_edge=False
    )
