"""A progress bar for long work. Imported late: rich takes a tenth of a second."""

from __future__ import annotations

from contextlib import nullcontext

from rich.console import Console
from rich.progress import BarColumn, DownloadColumn, Progress, TextColumn, TransferSpeedColumn


class Bar:
    """A progress bar on a terminal, nothing elsewhere. ``doing``: the word before it."""

    def __init__(self, doing: str) -> None:
        self._console = Console(stderr=True)
        self._progress = Progress(
            TextColumn("{task.description}"),
            BarColumn(),
            DownloadColumn(binary_units=True),
            TransferSpeedColumn(),
            console=self._console,
            transient=True,
        )
        self._task = self._progress.add_task(doing, total=0)

    def shown(self) -> Progress | nullcontext[None]:
        """Shows it meanwhile."""
        return self._progress if self._console.is_terminal else nullcontext()

    def found(self, total: int) -> None:
        """``total`` bytes are to be done, as far as is known."""
        self._progress.update(self._task, total=total)

    def done(self, size: int) -> None:
        """So many of them are done."""
        self._progress.advance(self._task, size)
