"""Running the plan: cell by cell, and in each cell A B A B over its contenders."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from functools import partial
from typing import Protocol

from netfsfuse.lab.bench.errors import BenchError, NotHere
from netfsfuse.lab.bench.links import Links
from netfsfuse.lab.bench.pace import Pace
from netfsfuse.lab.bench.plan import Cell, Contender, Kind
from netfsfuse.lab.bench.plan import Work as Asked
from netfsfuse.lab.bench.results import CellResult, Column, Results
from netfsfuse.lab.bench.sizes import LONGEST_RUN, SMALLEST, Sizes
from netfsfuse.lab.bench.target import Target
from netfsfuse.lab.bench.work.base import Bench, Work
from netfsfuse.lab.bench.work.making import make_work
from netfsfuse.lab.server.smbd import SambaError

_SCALED = {Asked.READ, Asked.COPY, Asked.WARM, Asked.PARALLEL}
"""Works whose size follows the contender's rate; the others take the cell's."""
_PROBED = {Asked.READ, Asked.COPY, Asked.PARALLEL}

FAILED = "failed: "
"""How the reason begins for a contender that broke, and not merely cannot run here."""


class Watch(Protocol):
    """Shows the progress."""

    def running(self, cell: Cell, contender: Contender, doing: str) -> None:
        """A run begins. ``doing`` is ``probe`` or ``round N``."""

    def ended(self, cell: Cell, result: CellResult) -> None:
        """A cell is done."""


class Runner:
    """``missing`` says why a kind of contender cannot run on this machine.

    ``elsewhere`` runs the cells of the TUN device, which need a network of their own; None: this
    is that network.
    """

    def __init__(
        self,
        bench: Bench,
        *,
        sizes: Sizes,
        rounds: int,
        missing: Mapping[Kind, str],
        watch: Watch,
        elsewhere: Callable[[Cell], CellResult] | None,
        links: Links,
    ) -> None:
        self._bench = bench
        self._sizes = sizes
        self._rounds = rounds
        self._missing = missing
        self._watch = watch
        self._elsewhere = elsewhere
        self._links = links

    def run(self, cells: Sequence[Cell], results: Results, seconds: float) -> None:
        """Measure all cells in about ``seconds``; each is in ``results`` from its beginning on."""
        pace = Pace(time.monotonic(), seconds, [cell.weight for cell in cells])
        for cell in cells:
            begin = time.monotonic()
            has_time = pace.begin_cell(begin)
            result = new_result(cell)
            results.cells.append(result)
            try:
                if not has_time:
                    raise NotHere("no time was left")
                if cell.link.tun and self._elsewhere is not None:
                    self._watch.running(cell, cell.contenders[0], "in a network of its own")
                    result = results.cells[-1] = self._elsewhere(cell)
                else:
                    self._cell(cell, result, pace)
            except NotHere as reason:
                _note_all(result, str(reason))
            except (BenchError, SambaError, OSError) as error:
                _note_all(result, f"{FAILED}{error}")
            result.took = time.monotonic() - begin
            self._watch.ended(cell, result)

    def _cell(self, cell: Cell, result: CellResult, pace: Pace) -> None:
        server = self._bench.serving.target(cell.protection)
        if measured := self._links.measured(cell.link):
            result.ceiling, result.added = measured.ceiling, measured.added
        with self._links.to(server, cell.link) as target, ExitStack() as stack:
            lanes = self._lanes(cell, result, target, stack)
            for lane in lanes:
                self._attempt(lane, lane.choose_size)
            for number in range(1, min(self._rounds, cell.rounds) + 1):
                for lane in lanes:
                    self._attempt(lane, partial(lane.round, number))
                if not pace.another_round(time.monotonic()):
                    if number < min(self._rounds, cell.rounds):
                        result.notes.append(f"{number} of {self._rounds} rounds, for time")
                    break

    def _lanes(
        self, cell: Cell, result: CellResult, target: Target, stack: ExitStack
    ) -> list[Lane]:
        lanes = []
        for contender, column in zip(cell.contenders, result.columns, strict=True):
            if contender.kind in self._missing:
                column.not_run = self._missing[contender.kind]
                continue
            work = make_work(self._bench, cell, contender, target)
            stack.callback(work.close)
            lanes.append(Lane(cell, contender, column, work, self._sizes, self._watch))
        return lanes

    def _attempt(self, lane: Lane, act: Callable[[], None]) -> None:
        """Do something for a contender that has not dropped out; a failure drops it out."""
        if lane.column.not_run:
            return
        try:
            act()
        except NotHere as reason:
            lane.column.not_run = str(reason)
        except (BenchError, OSError) as error:
            lane.column.not_run = f"{FAILED}{error}"


class Lane:
    """One contender in one cell."""

    def __init__(
        self,
        cell: Cell,
        contender: Contender,
        column: Column,
        work: Work,
        sizes: Sizes,
        watch: Watch,
    ) -> None:
        self.column = column
        self._cell = cell
        self._contender = contender
        self._work = work
        self._sizes = sizes
        self._watch = watch
        self._size = cell.size

    def choose_size(self) -> None:
        """Prepare, and decide what a run reads, by a probe if need be."""
        cell = self._cell
        self._work.prepare()
        if cell.work not in _SCALED:
            return
        if cell.work is Asked.WARM and self._contender.kind is not Kind.RCLONE:
            return  # the disk is fast, and ours and dd must read the same
        sizes = self._sizes
        known = sizes.knows(self._contender, cell.link, cell.protection)
        if sizes.has_probes and cell.work in _PROBED and not known and cell.size > SMALLEST:
            self._watch.running(cell, self._contender, "probe")
            size = sizes.probe(self._contender, cell.link, cell.size)
            self._probe(size)
        self._size = sizes.run(self._contender, cell.link, cell.protection, cell.size)

    def round(self, number: int) -> None:
        """One measured run."""
        self._watch.running(self._cell, self._contender, f"round {number}")
        run = self._work.once(self._size, number)
        self.column.runs.append(run)
        if self._cell.work in _PROBED:
            self._sizes.learn(
                self._contender, self._cell.link, self._cell.protection, run.bytes, run.seconds
            )
        if run.seconds > LONGEST_RUN and self._cell.work in _SCALED:
            self._size = max(SMALLEST, self._size // 2)

    def _probe(self, size: int) -> None:
        run = self._work.once(size, 0)
        self._sizes.probed(
            self._contender, self._cell.link, self._cell.protection, run.bytes, run.seconds
        )


def new_result(cell: Cell) -> CellResult:
    """A result with nothing measured yet."""
    return CellResult(
        row=cell.row,
        work=cell.work.name.lower(),
        condition=cell.shown,
        round_trip=cell.link.round_trip,
        rate=cell.link.rate,
        columns=[Column(contender.name, contender.kind.value) for contender in cell.contenders],
        protection=cell.protection,
        depth=cell.depth,
    )


def _note_all(result: CellResult, reason: str) -> None:
    for column in result.columns:
        column.not_run = column.not_run or reason
