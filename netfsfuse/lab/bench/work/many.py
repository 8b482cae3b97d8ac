"""Several readers at once: of a file each, and of one file together."""

from __future__ import annotations

import shutil
import tempfile
import time
from collections.abc import Sequence
from contextlib import ExitStack
from pathlib import Path

from netfsfuse.lab.bench.contenders.smbclient import Smbclient
from netfsfuse.lab.bench.errors import BenchError
from netfsfuse.lab.bench.plan import MIB, Cell, Contender
from netfsfuse.lab.bench.process import Finished, Program
from netfsfuse.lab.bench.results import Run
from netfsfuse.lab.bench.serving import ServedFile
from netfsfuse.lab.bench.target import Target
from netfsfuse.lab.bench.work.base import Bench, MountedWork, Recording, dd

READERS = 8


def run_together(commands: Sequence[Sequence[str]]) -> tuple[float, list[Finished]]:
    """Start all, wait for all; the time from the first start to the last end.

    Raises :class:`~netfsfuse.lab.bench.errors.BenchError` when one hangs; none is left then.
    """
    begin = time.monotonic()
    with ExitStack() as stack:
        programs = []
        for command in commands:
            programs.append(Program(command))
            stack.callback(programs[-1].kill)
        finished = [program.wait() for program in programs]
        return time.monotonic() - begin, finished


def shares(size: int) -> int:
    """Bytes of each reader's file: whole MiB, one at least."""
    return max(MIB, size // READERS // MIB * MIB)


class MountedParallel(MountedWork):
    """Eight ``dd`` in one mount."""

    def once(self, size: int, number: int) -> Run:
        files = self.bench.serving.files("parallel", READERS, shares(size))
        warm_all(files)
        with self.mounted() as mount:
            recording = Recording(mount)
            seconds, done = run_together([dd(mount.path / file.name, file) for file in files])
            fail_if_any(done)
            return recording.end(done, sum(file.size for file in files), seconds)


class SmbclientParallel:
    """Eight ``smbclient``: eight logins, eight connections. CPU and memory are of all."""

    def __init__(self, bench: Bench, cell: Cell, contender: Contender, target: Target) -> None:
        self._bench = bench
        self._folder = Path(tempfile.mkdtemp(prefix="work-", dir=bench.folder))
        self._client = Smbclient(target, self._folder)

    def prepare(self) -> None:
        """Nothing to do."""

    def once(self, size: int, number: int) -> Run:
        files = self._bench.serving.files("parallel", READERS, shares(size))
        warm_all(files)
        commands = [self._client.get(file.name, Path("/dev/null")) for file in files]
        seconds, done = run_together(commands)
        fail_if_any(done)
        cpu = sum(one.cpu for one in done)
        rss = sum(one.peak_rss for one in done)
        return Run(seconds, sum(file.size for file in files), cpu, cpu, rss)

    def close(self) -> None:
        """Remove the login."""
        shutil.rmtree(self._folder, ignore_errors=True)


class Shared(MountedWork):
    """Two readers of one cold file; what comes from the server should be one file's worth."""

    def once(self, size: int, number: int) -> Run:
        file = self.bench.serving.file(size)
        file.warm()
        with self.mounted() as mount:
            recording = Recording(mount)
            command = dd(mount.path / file.name, file)
            seconds, done = run_together([command, command])
            fail_if_any(done)
            measured = recording.end(done, 2 * file.size, seconds)
        measured.figures["server_share"] = (measured.server_bytes or 0) / file.size
        return measured


def warm_all(files: Sequence[ServedFile]) -> None:
    """Bring them into the server's page cache."""
    for file in files:
        file.warm()


def fail_if_any(done: Sequence[Finished]) -> None:
    """Raise :class:`BenchError` with the reason of the first program that failed."""
    for one in done:
        if one.status:
            raise BenchError(one.reason)
