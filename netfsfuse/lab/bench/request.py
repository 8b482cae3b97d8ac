"""What the user asked the bench for."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from netfsfuse.lab.bench.target import Target

ROUNDS = 5
QUICK_ROUNDS = 1


@dataclass(frozen=True, slots=True)
class Request:
    """``target`` None: the private server. ``file`` None: the largest at the top of the share.

    ``options`` are mount options for ours on the private server; a target has its own.
    ``directory`` takes all data, below a folder of its own; None: ``$TMPDIR`` or /var/tmp.
    """

    target: Target | None = None
    file: str | None = None
    rows: tuple[str, ...] = ()
    size: int | None = None
    rounds: int | None = None
    quick: bool = False
    json: Path | None = None
    plot: Path | None = None
    options: tuple[str, ...] = ()
    directory: Path | None = None

    @property
    def wanted_rounds(self) -> int:
        """Rounds of each cell, unless time runs out."""
        return self.rounds or (QUICK_ROUNDS if self.quick else ROUNDS)
