"""What every work has: the contender, the server, folders, and how a mount is measured."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol

from netfsfuse.lab.bench.contenders.ours import OurMount
from netfsfuse.lab.bench.contenders.rclone import RcloneMount, rclone_environment
from netfsfuse.lab.bench.plan import Cell, Contender, Kind
from netfsfuse.lab.bench.process import Finished, run
from netfsfuse.lab.bench.results import Run
from netfsfuse.lab.bench.serving import ServedFile, Serving, whole_mebibytes
from netfsfuse.lab.bench.target import Target

Mounted = OurMount | RcloneMount


@dataclass(slots=True)
class Bench:
    """Surroundings of all works. ``folder`` is on a disk with room and is the owner's to remove."""

    serving: Serving
    folder: Path
    compared: set[str] = field(default_factory=set)  # files whose bytes were seen to be right


class Work(Protocol):
    """One thing that is measured."""

    def prepare(self) -> None:
        """What is needed once."""

    def once(self, size: int, number: int) -> Run:
        """One run over ``size`` bytes; ``number`` is the round, from 1 on, or 0 for a probe."""

    def close(self) -> None:
        """Leave nothing behind. Also called when prepare or once failed."""


class MountedWork:
    """The base of works through a mount. ``target`` is the share, through the link."""

    def __init__(self, bench: Bench, cell: Cell, contender: Contender, target: Target) -> None:
        self.bench = bench
        self.cell = cell
        self.contender = contender
        self.target = target
        self.folder = Path(tempfile.mkdtemp(prefix="work-", dir=bench.folder))
        self.cachedir = self.folder / "cache"
        self._environment: dict[str, str] = {}

    @property
    def stores(self) -> bool:
        """Whether this is ours, with the disk cache."""
        return self.contender.kind is Kind.OURS and "nofsc" not in self.contender.options

    def prepare(self) -> None:
        """Nothing, unless a work says otherwise."""

    def close(self) -> None:
        """Remove the cache and all else."""
        shutil.rmtree(self.folder, ignore_errors=True)

    def mounted(self, *, fresh: bool = True) -> Mounted:
        """The contender's mount, to be entered; ``fresh``: with an empty cache."""
        if fresh:
            shutil.rmtree(self.cachedir, ignore_errors=True)
        if self.contender.kind is Kind.RCLONE:
            self._environment = self._environment or rclone_environment(self.target)
            return RcloneMount(
                self.target,
                self.folder,
                self.cachedir,
                self._environment,
                self.contender.options,
            )
        return OurMount(self.target, self.folder, self.cachedir, self.contender.options)


class Recording:
    """What a mount spends between :meth:`__init__` and :meth:`end`."""

    def __init__(self, mount: Mounted) -> None:
        self._mount = mount
        self._before = mount.counters() if isinstance(mount, OurMount) else None
        mount.meter.reset_peak()
        self._cpu = mount.meter.cpu_seconds()

    def end(self, programs: Sequence[Finished], size: int, seconds: float | None = None) -> Run:
        """The run in which these programs read ``size`` bytes in all."""
        meter = self._mount.meter
        run_ = Run(
            seconds=max(done.seconds for done in programs) if seconds is None else seconds,
            bytes=size,
            client_cpu=meter.cpu_seconds() - self._cpu,
            reader_cpu=sum(done.cpu for done in programs),
            peak_rss=meter.peak_rss(),
        )
        if isinstance(self._mount, OurMount) and self._before is not None:
            server, before = self._mount.counters()["server"], self._before["server"]
            run_.in_flight_peak = server["in_flight_peak"]
            run_.server_reads = server["reads"] - before["reads"]
            run_.server_bytes = server["bytes"] - before["bytes"]
            run_.figures["channels"] = server["channels"]
        run_.figures["mount_seconds"] = self._mount.mount_seconds
        return run_


def dd(source: Path, file: ServedFile) -> list[str]:
    """The command that reads a file in order, into nothing."""
    words = ["dd", f"if={source}", "of=/dev/null", "bs=1M", "iflag=fullblock", "status=none"]
    return words if file.size == file.whole else [*words, f"count={whole_mebibytes(file.size)}"]


def compare(bench: Bench, seen: Path, file: ServedFile) -> None:
    """Hold what was delivered beside the right bytes, once for each file and not timed.

    It comes from the kernel's page cache: it is what the measured program was given. Raises
    :class:`~netfsfuse.lab.bench.errors.BenchError` when a byte is wrong.
    """
    if file.copy is not None and file.name not in bench.compared:
        run(["cmp", f"--bytes={file.size}", str(seen), str(file.copy)])
        bench.compared.add(file.name)
