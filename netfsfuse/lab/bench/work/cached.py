"""Reading what was read before: from the disk cache, and from the kernel's page cache."""

from __future__ import annotations

from netfsfuse.lab.bench import pages
from netfsfuse.lab.bench.contenders.ours import OurMount
from netfsfuse.lab.bench.plan import OURS, Kind
from netfsfuse.lab.bench.process import run
from netfsfuse.lab.bench.results import Run
from netfsfuse.lab.bench.work.base import Bench, MountedWork, Recording, compare, dd


class Warm(MountedWork):
    """The cache is filled once; each round mounts anew with the page cache dropped."""

    _filled = 0

    def once(self, size: int, number: int) -> Run:
        self._fill(size)
        file = self.bench.serving.file(size)
        with self.mounted(fresh=False) as mount:
            self._forget()
            recording = Recording(mount)
            done = run(dd(mount.path / file.name, file))
            measured = recording.end([done], file.size)
            if isinstance(mount, OurMount):
                measured.figures["from_server_share"] = (measured.server_bytes or 0) / file.size
                compare(self.bench, mount.path / file.name, file)
        return measured

    def _fill(self, size: int) -> None:
        if self._filled == size:
            return
        file = self.bench.serving.file(size)
        with self.mounted() as mount:
            run(dd(mount.path / file.name, file))
            if isinstance(mount, OurMount):
                mount.settle(file.size)
        self._filled = size

    def _forget(self) -> None:
        pages.forget(path for path in self.cachedir.rglob("*") if path.is_file())


class Disk(Warm):
    """``dd iflag=direct`` of our backing file: what the disk gives, with no client at all."""

    def __init__(self, bench: Bench, *rest: object) -> None:
        super().__init__(bench, *rest)  # type: ignore[arg-type]
        self.contender = OURS  # whose cache it reads

    def once(self, size: int, number: int) -> Run:
        self._fill(size)
        backing = OurMount.backing_file(self.cachedir)
        self._forget()
        words = ["dd", f"if={backing}", "of=/dev/null", "bs=1M", "iflag=direct", "status=none"]
        done = run(words)
        return Run(done.seconds, backing.stat().st_size, reader_cpu=done.cpu)


class Reopen(MountedWork):
    """The file was read in this mount just before: the kernel's page cache may serve it."""

    def once(self, size: int, number: int) -> Run:
        file = self.bench.serving.file(size)
        file.warm()
        with self.mounted() as mount:
            source = mount.path / file.name
            run(dd(source, file))
            if self.stores and isinstance(mount, OurMount):
                mount.settle(file.size)
            recording = Recording(mount)
            done = run(dd(source, file))
            return recording.end([done], file.size)


def kinds_of_warm(kind: Kind) -> type[Warm]:
    """The work of that contender."""
    return Disk if kind is Kind.DISK else Warm
