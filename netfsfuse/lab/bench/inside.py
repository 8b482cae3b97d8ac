"""The cells of the TUN device, in a network namespace of their own.

:func:`measure_inside` is called by the bench: it starts this module as a program in the namespace,
gives it what to do as JSON on standard input, and reads the results from its standard output.
"""

from __future__ import annotations

import json
import sys
import tempfile
from contextlib import ExitStack
from pathlib import Path

from netfsfuse.lab.bench.errors import BenchError, NotHere
from netfsfuse.lab.bench.links import Links, Measured
from netfsfuse.lab.bench.machine import missing_programs
from netfsfuse.lab.bench.plan import Cell, Contender
from netfsfuse.lab.bench.process import Program
from netfsfuse.lab.bench.request import Request
from netfsfuse.lab.bench.results import CellResult, Results, cells_from_json
from netfsfuse.lab.bench.rows import build_plan
from netfsfuse.lab.bench.runner import Runner
from netfsfuse.lab.bench.serving import PrivateServing
from netfsfuse.lab.bench.sizes import Sizes
from netfsfuse.lab.bench.work.base import Bench
from netfsfuse.lab.link.ceiling import measure_tun
from netfsfuse.lab.link.namespace import in_namespace, missing
from netfsfuse.lab.link.tun import DelayTun
from netfsfuse.lab.signals import Interrupted, Interruptible

ROW = "tun"
_CELL_SECONDS, _QUICK_CELL_SECONDS = 60.0, 20.0
_GRACE = 30.0  # s to unmount and end everything when asked to; measured 1 s
_CEILING_SECONDS = 1.0


def measure_inside(cell: Cell, request: Request, folder: Path) -> CellResult:
    """Measure a cell over the TUN device. Raises :class:`NotHere` or :class:`BenchError`."""
    if request.target is not None:
        raise NotHere("needs the private server, in a network of its own")
    reason = missing()
    if reason is not None:
        raise NotHere(reason)
    asked = {
        "folder": tempfile.mkdtemp(prefix="inside-", dir=folder),
        "options": request.options,
        "rounds": request.wanted_rounds,
        "size": request.size,
        "quick": request.quick,
    }
    Path(str(asked["folder"])).chmod(0o711)
    command = in_namespace([sys.executable, "-m", "netfsfuse.lab.bench.inside"])
    program = Program(command, text=json.dumps(asked), grace=_GRACE)
    done = program.wait(2 * _CELL_SECONDS + _GRACE)
    if done.status:
        raise BenchError(done.reason)
    return cells_from_json(json.loads(done.output))[0]


class _NoProgress:
    """A watch that shows nothing."""

    def running(self, cell: Cell, contender: Contender, doing: str) -> None: ...

    def ended(self, cell: Cell, result: CellResult) -> None: ...


def main() -> int:
    """Inside: measure, print the results, clean up."""
    asked = json.load(sys.stdin)
    folder = Path(asked["folder"])
    cells = build_plan([ROW], size=asked["size"], quick=asked["quick"])
    results = Results()
    with Interruptible() as signals:
        stack = ExitStack()
        try:
            link = cells[0].link
            measured = Measured(*measure_tun(link.round_trip, _CEILING_SECONDS))
            stack.enter_context(DelayTun(link.round_trip))
            serving = PrivateServing(folder, stack, asked["options"], DelayTun.samba_options)
            runner = Runner(
                Bench(serving, folder),
                sizes=Sizes(quick=asked["quick"]),
                rounds=asked["rounds"],
                missing=missing_programs(),
                watch=_NoProgress(),
                elsewhere=None,
                links=Links({link: measured}),
            )
            runner.run(cells, results, _QUICK_CELL_SECONDS if asked["quick"] else _CELL_SECONDS)
        except Interrupted as interrupted:
            return interrupted.exit_status
        finally:
            signals.hold()
            stack.close()
    json.dump(results.to_json(), sys.stdout)
    return 0


if __name__ == "__main__":
    sys.exit(main())
