"""What is shown while the bench runs: a bar on a terminal, a line for each cell elsewhere."""

from __future__ import annotations

from types import TracebackType
from typing import Self

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

from netfsfuse.lab.bench.plan import Cell, Contender
from netfsfuse.lab.bench.results import CellResult
from netfsfuse.printable import printable


class ProgressBar:
    """A :class:`~netfsfuse.lab.bench.runner.Watch`, and a context manager around the run."""

    def __init__(self, console: Console, cells: int) -> None:
        self._console = console
        self._bar = Progress(
            BarColumn(20),
            MofNCompleteColumn(),
            TimeElapsedColumn(),
            TextColumn("{task.description}", markup=False),
            console=console,
            transient=True,
            disable=not console.is_terminal,
        )
        self._task = self._bar.add_task("", total=cells)

    def __enter__(self) -> Self:
        self._bar.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        value: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._bar.stop()

    def running(self, cell: Cell, contender: Contender, doing: str) -> None:
        """Name the row, the condition and the contender."""
        self._bar.update(
            self._task, description=f"{cell.row}, {cell.shown}: {contender.name}, {doing}"
        )

    def ended(self, cell: Cell, result: CellResult) -> None:
        """One more cell; where there is no bar, a line."""
        self._bar.advance(self._task)
        if not self._console.is_terminal:
            ran = sum(1 for column in result.columns if column.runs)
            words = f"{ran} of {len(result.columns)} ran, {result.took:.0f} s"
            self._console.print(printable(f"  {cell.row}, {cell.shown}: {words}"), markup=False)
