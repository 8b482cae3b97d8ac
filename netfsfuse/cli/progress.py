"""A progress bar for long work. Imported late: rich takes a tenth of a second."""

from __future__ import annotations

from contextlib import nullcontext

from rich.console import Console
from rich.progress import BarColumn, DownloadColumn, Progress, TextColumn, TransferSpeedColumn


class Bar:
    """A progress bar on a terminal, nothing elsewhere."""

    def __init__(self) -> None:
        self._console = Console(stderr=True)
        self._progress = Progress(
            TextColumn("{task.description}"),
            BarColumn(),
            DownloadColumn(binary_units=True),
            TransferSpeedColumn(),
            console=self._console,
            transient=True,
        )
        self._task = self._progress.add_task("warming", total=0)

    def shown(self) -> Progress | nullcontext[None]:
        """Shows it meanwhile."""
        return self._progress if self._console.is_terminal else nullcontext()

    def found(self, total: int) -> None:
        """``total`` bytes of files were found so far."""
        self._progress.update(self._task, total=total)

    def done(self, size: int) -> None:
        """A file of ``size`` bytes is done."""
        self._progress.advance(self._task, size)
