"""Printing the results."""

from __future__ import annotations

from rich.console import Console

from netfsfuse.lab.bench import table
from netfsfuse.lab.bench.results import Results
from netfsfuse.printable import printable

_NARROWEST = 118
"""Columns that the whole table needs; where the output is no terminal it gets them."""


def show(results: Results, console: Console) -> None:
    """Print tables and notes, as far as there is anything."""
    if not results.cells:
        return
    if not console.is_terminal:
        console = Console(width=max(console.width, _NARROWEST))
    console.print(table.main_table(results, narrow=console.width < _NARROWEST))
    if sweep := table.sweep_table(results):
        console.print(sweep)
    if not results.complete:
        console.print("Interrupted: this is what was measured until then.")
    for line in table.notes(results):
        console.print(printable(line), markup=False, highlight=False)
    console.print(table.machine_line(results), markup=False, highlight=False)
