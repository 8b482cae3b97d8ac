"""What the demo shows: one line while a step runs, and the table at the end."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.table import Table

MB = 1_000_000  # rates are in the unit that disks and links are sold in


@dataclass(slots=True)
class Step:
    """One row of the summary. Bytes are counted by the mount itself (``netfsfuse stats``)."""

    title: str
    seconds: float = 0.0
    moved: int | None = None  # bytes that the programs in this step read; None: no rate to show
    from_server: int | None = None
    from_cache: int | None = None
    outcome: str = ""


@dataclass(slots=True)
class Report:
    """The steps so far. On a terminal a running step has a spinner, elsewhere a plain line."""

    console: Console
    steps: list[Step] = field(default_factory=list)

    @contextmanager
    def step(self, title: str) -> Iterator[Step]:
        """Time a step and show it; one that raises is shown as failed, or as interrupted."""
        row = Step(title)
        self.steps.append(row)
        begin = time.monotonic()
        try:
            with self.console.status(f"{title} ..."):
                yield row
        except BaseException as error:
            row.outcome = "failed" if isinstance(error, Exception) else "interrupted"
            raise
        finally:
            row.seconds = row.seconds or time.monotonic() - begin
            self.console.print(f"  {title}: {row.outcome or 'done'}, {row.seconds:.1f} s")

    def table(self) -> Table:
        """The summary."""
        table = Table(
            title="What was done",
            title_justify="left",
            box=SIMPLE_HEAD,
            padding=(0, 1, 0, 0),
            pad_edge=False,
        )
        table.add_column("step")
        for name in ("s", "MB/s", "server MB", "cache MB"):  # 80 columns hold it all
            table.add_column(name, justify="right")
        table.add_column("result")
        for row in self.steps:
            table.add_row(
                row.title,
                f"{row.seconds:.2f}",
                "" if row.moved is None else f"{row.moved / MB / max(row.seconds, 1e-3):.0f}",
                _megabytes(row.from_server),
                _megabytes(row.from_cache),
                row.outcome or "done",
            )
        return table


def _megabytes(count: int | None) -> str:
    return "" if count is None else f"{count / MB:.1f}"
