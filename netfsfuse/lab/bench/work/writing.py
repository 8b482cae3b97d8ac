"""Writing one file in order. A run ends when the server has all, whatever a close promised."""

from __future__ import annotations

import shutil
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

from netfsfuse.lab.bench.contenders.ours import OurMount
from netfsfuse.lab.bench.contenders.smbclient import Smbclient
from netfsfuse.lab.bench.errors import BenchError
from netfsfuse.lab.bench.plan import Cell, Contender, Kind, Work
from netfsfuse.lab.bench.process import run
from netfsfuse.lab.bench.results import Run
from netfsfuse.lab.bench.serving import ServedFile
from netfsfuse.lab.bench.target import Target
from netfsfuse.lab.bench.work.base import Bench, MountedWork, Recording

_NAME = "written"
_LONGEST_WAIT = 60.0
_POLL_SECONDS = 0.002
_DISTANT = {0.010: 4, 0.050: 16}
"""rclone at a distance writes so many times less: it takes 19 s for 512 MiB at 10 ms. Its rate is
compared, which a smaller file makes worse only by its delay of 5 s, where it has that."""
_DELAYED = 2
"""And so many times less of 4 KiB writes."""


class MountedWrite(MountedWork):
    """``dd`` with ``conv=fsync`` into a fresh mount."""

    def once(self, size: int, number: int) -> Run:
        if self.contender.kind is Kind.RCLONE:
            size //= _DISTANT.get(self.cell.link.round_trip, 1)
            size //= _DELAYED if self.cell.work is Work.WRITE_SMALL else 1
        source, place = written(self.bench, size)
        block = "1M" if self.cell.work is Work.WRITE else "4k"
        with self.mounted() as mount:
            recording = Recording(mount)
            begin = time.monotonic()
            words = ["dd", f"if={source.path}", f"of={mount.path / _NAME}", f"bs={block}"]
            done = run([*words, "conv=fsync", "status=none"])
            seconds = wait_for(lambda: has_size(place, size)) - begin
            measured = recording.end([done], size, seconds)
            if isinstance(mount, OurMount):
                flying = mount.counters().get("write", {}).get("in_flight_peak")
                measured.in_flight_peak = flying
        compare_written(source, place)
        return measured


class SmbclientPut:
    """``smbclient put``. Its login is in its wall time."""

    def __init__(self, bench: Bench, target: Target) -> None:
        self._bench = bench
        self._folder = Path(tempfile.mkdtemp(prefix="work-", dir=bench.folder))
        self._client = Smbclient(target, self._folder)

    def prepare(self) -> None:
        """Nothing to do."""

    def once(self, size: int, number: int) -> Run:
        source, place = written(self._bench, size)
        assert source.path is not None
        begin = time.monotonic()
        done = run(self._client.put(source.path, _NAME))
        seconds = wait_for(lambda: has_size(place, size)) - begin
        compare_written(source, place)
        return Run(seconds, size, done.cpu, done.cpu, done.peak_rss)

    def close(self) -> None:
        """Remove the login."""
        shutil.rmtree(self._folder, ignore_errors=True)


def written(bench: Bench, size: int) -> tuple[ServedFile, Path]:
    """What is to be written, warm; and where the server keeps it, where nothing is by now."""
    place = bench.serving.place(_NAME)
    place.unlink(missing_ok=True)
    source = bench.serving.file(size)
    source.warm()
    return source, place


def wait_for(condition: Callable[[], bool]) -> float:
    """When it came true (monotonic). Raises :class:`BenchError` if that takes long."""
    end = time.monotonic() + _LONGEST_WAIT
    while not condition():
        if time.monotonic() > end:
            raise BenchError(f"the server has not got all after {_LONGEST_WAIT:.0f} s")
        time.sleep(_POLL_SECONDS)
    return time.monotonic()


def has_size(path: Path, size: int) -> bool:
    """Whether there is a file of that size."""
    try:
        return path.stat().st_size == size
    except FileNotFoundError:
        return False


def compare_written(source: ServedFile, place: Path) -> None:
    """Hold what the server has beside what was written, and remove it. Not timed.

    Raises :class:`BenchError` when a byte is wrong.
    """
    run(["cmp", str(source.path), str(place)])
    place.unlink()


def make_writing(
    bench: Bench, cell: Cell, contender: Contender, target: Target
) -> MountedWrite | SmbclientPut:
    """The work of that contender."""
    if contender.kind is Kind.SMBCLIENT:
        return SmbclientPut(bench, target)
    return MountedWrite(bench, cell, contender, target)
