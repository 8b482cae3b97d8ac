"""``tar x`` of small files. A run ends when the server has all of them, whatever tar believes."""

from __future__ import annotations

import os
import shutil
import tarfile
import tempfile
import time
from pathlib import Path

from netfsfuse.lab.bench.contenders.smbclient import Smbclient
from netfsfuse.lab.bench.plan import UNPACKED, Cell, Contender, Kind
from netfsfuse.lab.bench.process import run
from netfsfuse.lab.bench.results import Run
from netfsfuse.lab.bench.serving import Serving
from netfsfuse.lab.bench.target import Target
from netfsfuse.lab.bench.work.base import Bench, MountedWork, Recording
from netfsfuse.lab.bench.work.writing import wait_for
from netfsfuse.lab.server import data

_NAME = "unpacked"
_TREE = "d000"
_DISTANT = {0.010: 10, 0.050: 20}
"""Peers unpack so many times fewer files at a distance: at 10 ms rclone makes 8 to 27 a second, and
smbclient takes over a minute for all. What counts is files a second."""


class Unpacking:
    """The archive, and the folder of the share that it is unpacked into; made in ``folder``."""

    def __init__(self, serving: Serving, folder: Path, files: int) -> None:
        self.files = files
        self.place = serving.place(_NAME)
        self.archive = folder / "archive.tar"
        self._tree = folder / "tree"
        if not self.archive.exists():
            data.write_even_tree(self._tree, 1, files)
            with tarfile.open(self.archive, "w") as archive:
                archive.add(self._tree / _TREE, _TREE)

    def make_room(self) -> None:
        """An empty folder, as the server keeps it."""
        self.remove()
        self.place.mkdir()

    def wait(self) -> float:
        """When the server had all files, whole (monotonic)."""
        return wait_for(self._is_whole)

    def compare(self) -> None:
        """Raises :class:`~netfsfuse.lab.bench.errors.BenchError` when a byte is wrong."""
        run(["diff", "-r", str(self._tree / _TREE), str(self.place / _TREE)])

    def remove(self) -> None:
        """What the server has of it."""
        shutil.rmtree(self.place, ignore_errors=True)

    def result(self, measured: Run) -> Run:
        """With what the table shows of it."""
        measured.figures["files_per_second"] = self.files / measured.seconds
        if measured.client_cpu is not None:
            measured.figures["cpu_a_file"] = measured.client_cpu / self.files
        return measured

    def _is_whole(self) -> bool:
        try:
            with os.scandir(self.place / _TREE) as entries:
                sizes = [entry.stat().st_size for entry in entries]
        except FileNotFoundError:
            return False
        return len(sizes) == self.files and min(sizes) == 4096


class MountedUnpack(MountedWork):
    """``tar x`` into a fresh mount."""

    def once(self, size: int, number: int) -> Run:
        files = UNPACKED if self.contender.kind is Kind.OURS else _fewer(self.cell)
        unpacking = Unpacking(self.bench.serving, self.folder, files)
        unpacking.make_room()
        with self.mounted() as mount:
            recording = Recording(mount)
            begin = time.monotonic()
            into = str(mount.path / _NAME)
            done = run(["tar", "xf", str(unpacking.archive), "-C", into, "--no-same-owner"])
            seconds = unpacking.wait() - begin
            measured = recording.end([done], unpacking.files * 4096, seconds)
        unpacking.compare()
        unpacking.remove()
        return unpacking.result(measured)


class SmbclientUnpack:
    """``smbclient -Tx``. Its login is in its wall time."""

    def __init__(self, bench: Bench, cell: Cell, target: Target) -> None:
        self._files = _fewer(cell)
        self._folder = Path(tempfile.mkdtemp(prefix="work-", dir=bench.folder))
        self._client = Smbclient(target, self._folder)
        self._serving = bench.serving

    def prepare(self) -> None:
        """Nothing to do."""

    def once(self, size: int, number: int) -> Run:
        unpacking = Unpacking(self._serving, self._folder, self._files)
        unpacking.make_room()
        begin = time.monotonic()
        done = run(self._client.unpack(unpacking.archive, _NAME))
        seconds = unpacking.wait() - begin
        unpacking.compare()
        unpacking.remove()
        return unpacking.result(
            Run(seconds, unpacking.files * 4096, done.cpu, done.cpu, done.peak_rss)
        )

    def close(self) -> None:
        """Remove the login and the archive."""
        shutil.rmtree(self._folder, ignore_errors=True)


def _fewer(cell: Cell) -> int:
    return UNPACKED // _DISTANT.get(cell.link.round_trip, 1)


def make_unpacking(
    bench: Bench, cell: Cell, contender: Contender, target: Target
) -> MountedUnpack | SmbclientUnpack:
    """The work of that contender."""
    if contender.kind is Kind.SMBCLIENT:
        return SmbclientUnpack(bench, cell, target)
    return MountedUnpack(bench, cell, contender, target)
