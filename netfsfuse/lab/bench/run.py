"""The bench from beginning to end: server, files, runs, tables, clean-up.

Everything made is undone by an entry on one ExitStack, put there before the thing is made. A
signal ends the measuring, never the clean-up, and what was measured until then is shown and
written like a whole run's, marked as incomplete.
"""

from __future__ import annotations

import json
import os
import shutil
import tempfile
from contextlib import ExitStack
from pathlib import Path

from rich.console import Console

from netfsfuse.lab.bench import pages
from netfsfuse.lab.bench.contenders.ours import OurMount
from netfsfuse.lab.bench.contenders.smbclient import Smbclient
from netfsfuse.lab.bench.errors import BenchError
from netfsfuse.lab.bench.inside import measure_inside
from netfsfuse.lab.bench.links import Links
from netfsfuse.lab.bench.machine import describe_machine, missing_programs
from netfsfuse.lab.bench.pace import QUICK_RUN, WHOLE_RUN
from netfsfuse.lab.bench.plan import MIB, Cell, Kind
from netfsfuse.lab.bench.plot import draw
from netfsfuse.lab.bench.process import run
from netfsfuse.lab.bench.progress import ProgressBar
from netfsfuse.lab.bench.request import Request
from netfsfuse.lab.bench.results import Results
from netfsfuse.lab.bench.rows import build_plan
from netfsfuse.lab.bench.runner import FAILED, Runner
from netfsfuse.lab.bench.serving import GivenServing, PrivateServing, Serving
from netfsfuse.lab.bench.show import show
from netfsfuse.lab.bench.sizes import Sizes
from netfsfuse.lab.bench.target import Target
from netfsfuse.lab.bench.work.base import Bench
from netfsfuse.lab.server.smbd import find_program, scratch_directory
from netfsfuse.lab.signals import Interrupted, Interruptible

_LARGEST_COPY = 1024 * MIB
"""Bytes that are fetched a second time to hold ours beside; more would take too long."""

_ROOM = 6
"""Times the largest size that must be free: served files of several sizes, caches and a copy."""


def run_bench(request: Request) -> int:
    """Measure; exit status 0 only if every row ran. Main thread only.

    Raises :class:`BenchError` or :class:`~netfsfuse.lab.server.smbd.SambaError` with one line when
    it cannot begin; nothing is left behind then.
    """
    cells = build_plan(request.rows, size=request.size, quick=request.quick)
    _check_outputs(request)
    console = Console()
    results = Results(settings=_settings(request))
    status = 0
    with Interruptible() as signals:
        stack = ExitStack()
        try:
            _measure(request, cells, results, console, stack)
            results.complete = True
        except Interrupted as interrupted:
            console.print(f"netfsfuse bench: {interrupted}, cleaning up")
            status = interrupted.exit_status
        finally:
            signals.hold()
            stack.close()
    show(results, console)
    _write(request, results)
    return status or int(has_failed(results))


def has_failed(results: Results) -> bool:
    """Whether some contender broke; one that is merely not installed did not."""
    return any(c.not_run.startswith(FAILED) for cell in results.cells for c in cell.columns)


def _measure(
    request: Request, cells: list[Cell], results: Results, console: Console, stack: ExitStack
) -> None:
    _check_machine(request, cells)
    results.machine = describe_machine()
    results.notes.append(pages.how())
    folder = _make_folder(request, stack)
    serving = _serving(request, folder, stack, results)
    runner = Runner(
        Bench(serving, folder),
        sizes=Sizes(quick=request.quick),
        rounds=request.wanted_rounds,
        missing=missing_programs(),
        watch=stack.enter_context(ProgressBar(console, len(cells))),
        elsewhere=lambda cell: measure_inside(cell, request, folder),
        links=Links(),
    )
    runner.run(cells, results, QUICK_RUN if request.quick else WHOLE_RUN)


def _make_folder(request: Request, stack: ExitStack) -> Path:
    base = request.directory or scratch_directory()
    folder = Path(tempfile.mkdtemp(prefix="netfsfuse-bench-", dir=base)).resolve()
    stack.callback(shutil.rmtree, folder, ignore_errors=True)
    folder.chmod(0o711)  # smbd serves as the user who logs in
    return folder


def _serving(request: Request, folder: Path, stack: ExitStack, results: Results) -> Serving:
    if request.target is None:
        results.notes.append("the server's page cache was warmed before every run")
        return PrivateServing(folder, stack, request.options)
    results.notes.append(f"the server is {request.target.host}; its caches are as they were")
    name, size = _find_file(request.target, request.file, folder)
    copy = _copy_by_another(request.target, name, size, folder)
    if copy is None:
        results.notes.append("the bytes delivered were compared with nothing")
    return GivenServing(request.target, name, size, copy)


def _copy_by_another(target: Target, name: str, size: int, folder: Path) -> Path | None:
    """The file as smbclient fetches it; None where there is no smbclient, or too little time."""
    if Kind.SMBCLIENT in missing_programs() or size > _LARGEST_COPY:
        return None
    copy = folder / "copy"
    run(Smbclient(target, folder).get(name, copy))
    return copy


def _find_file(target: Target, name: str | None, folder: Path) -> tuple[str, int]:
    """The file to read and its size; the largest at the top of the share if none is named."""
    with OurMount(target, folder, folder / "look", ("nofsc",)) as mount:
        if name is not None:
            path = mount.path / name
            if not path.is_file():
                raise BenchError(f"{name} is not a file of the share")
            return name, path.stat().st_size
        sizes = {e.name: e.stat().st_size for e in os.scandir(mount.path) if e.is_file()}
    if not sizes:
        raise BenchError("no file at the top of the share: name one with --file")
    largest = max(sizes, key=lambda entry: sizes[entry])
    return largest, sizes[largest]


def _check_machine(request: Request, cells: list[Cell]) -> None:
    """Raise with the first thing that is missing."""
    if request.target is None:
        find_program("smbd")
        find_program("pdbedit")
    try:
        os.close(os.open("/dev/fuse", os.O_RDWR))
    except OSError as error:
        raise BenchError(f"/dev/fuse cannot be opened: {error.strerror}") from None
    for program in ("dd", "cp", "cmp", "sync"):
        if shutil.which(program) is None:
            raise BenchError(f"{program} not found")
    directory = request.directory or scratch_directory()
    if not os.access(directory, os.W_OK | os.X_OK):
        raise BenchError(f"{directory} is not a folder that can be written to; see --directory")
    needed = _ROOM * max((cell.size for cell in cells), default=0)
    if shutil.disk_usage(directory).free < needed:
        raise BenchError(f"{directory} has less than {needed // MIB} MiB free; see --directory")


def _check_outputs(request: Request) -> None:
    """Find out now, not after 20 minutes, that a result cannot be written."""
    for path in (request.json, request.plot):
        if path is not None:
            with path.open("a"):
                pass


def _settings(request: Request) -> dict[str, object]:
    return {
        "rows": list(request.rows),
        "size": request.size,
        "rounds": request.wanted_rounds,
        "quick": request.quick,
        "options": list(request.options),
        "private_server": request.target is None,
    }


def _write(request: Request, results: Results) -> None:
    if request.json is not None:
        request.json.write_text(json.dumps(results.to_json(), indent=2) + "\n")
    if request.plot is not None:
        request.plot.write_text(draw(results))
