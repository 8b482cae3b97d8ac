"""Reading one file in order: into nothing, or to a local file that is then synced."""

from __future__ import annotations

import shlex
import shutil
import tempfile
from pathlib import Path

from netfsfuse.lab.bench.contenders.ours import OurMount
from netfsfuse.lab.bench.contenders.smbclient import Smbclient
from netfsfuse.lab.bench.errors import NotHere
from netfsfuse.lab.bench.plan import Cell, Contender, Kind, Work
from netfsfuse.lab.bench.process import run
from netfsfuse.lab.bench.results import Run
from netfsfuse.lab.bench.sizes import LONGEST_RUN
from netfsfuse.lab.bench.target import Target
from netfsfuse.lab.bench.work.base import Bench, MountedWork, Recording, compare, dd


class MountedRead(MountedWork):
    """A cold read through a mount. The first round of ours also looks at what was stored."""

    def once(self, size: int, number: int) -> Run:
        file = self.bench.serving.file(size)
        file.warm()
        with self.mounted() as mount:
            source = mount.path / file.name
            recording = Recording(mount)
            if self.cell.work is Work.COPY:
                done = run(_copy_and_sync(source, self.folder / "copy"))
                (self.folder / "copy").unlink()
            else:
                done = run(dd(source, file))
            stored = mount.settle(file.size) if self.stores and isinstance(mount, OurMount) else 0
            measured = recording.end([done], file.size)
            if isinstance(mount, OurMount):
                compare(self.bench, source, file)
        if self.stores:
            measured.figures["stored_share"] = stored / file.size
            if number == 1 and self.cell.row == "cold":
                self._read_again(size, measured)
        return measured

    def _read_again(self, size: int, measured: Run) -> None:
        """Note in ``measured`` what a remount still asks of the server for the same file."""
        file = self.bench.serving.file(size)
        with self.mounted(fresh=False) as again:
            recording = Recording(again)
            done = run(dd(again.path / file.name, file))
            second = recording.end([done], file.size)
        measured.figures["again_server_share"] = (second.server_bytes or 0) / file.size
        measured.figures["again_server_reads"] = second.server_reads or 0


class SmbclientRead:
    """``smbclient get``, into nothing or to a file. Its login is in its wall time."""

    def __init__(self, bench: Bench, cell: Cell, contender: Contender, target: Target) -> None:
        self._bench = bench
        self._syncs = cell.work is Work.COPY
        self._folder = Path(tempfile.mkdtemp(prefix="work-", dir=bench.folder))
        self._to_file = contender.kind is Kind.SMBCLIENT_FILE
        self._client = Smbclient(target, self._folder)

    def prepare(self) -> None:
        """Nothing to do."""

    def once(self, size: int, number: int) -> Run:
        file = self._bench.serving.file(size)
        if file.whole > 2 * file.size:
            raise NotHere(f"it reads whole files only: this one would take over {LONGEST_RUN:g} s")
        file.warm()
        copy = self._folder / "copy"
        command = self._client.get(file.name, copy if self._to_file else Path("/dev/null"))
        if self._syncs:
            command = ["sh", "-c", f"{shlex.join(command)} && sync {shlex.quote(str(copy))}"]
        done = run(command)
        copy.unlink(missing_ok=True)
        return Run(done.seconds, file.whole, done.cpu, done.cpu, done.peak_rss)

    def close(self) -> None:
        """Remove the login."""
        shutil.rmtree(self._folder, ignore_errors=True)


def _copy_and_sync(source: Path, copy: Path) -> list[str]:
    return [
        "sh",
        "-c",
        f"cp {shlex.quote(str(source))} {shlex.quote(str(copy))} && sync {shlex.quote(str(copy))}",
    ]


def make_reading(
    bench: Bench, cell: Cell, contender: Contender, target: Target
) -> MountedRead | SmbclientRead:
    """The work of that contender."""
    if contender.kind in (Kind.SMBCLIENT, Kind.SMBCLIENT_FILE):
        return SmbclientRead(bench, cell, contender, target)
    return MountedRead(bench, cell, contender, target)
