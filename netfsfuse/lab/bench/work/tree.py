"""A tree of small files: ``find -ls`` and ``grep -r``, cold, and grep once more."""

from __future__ import annotations

from netfsfuse.lab.bench.contenders.ours import OurMount
from netfsfuse.lab.bench.errors import BenchError
from netfsfuse.lab.bench.plan import DIRECTORIES, FILES, Kind
from netfsfuse.lab.bench.process import Finished, run
from netfsfuse.lab.bench.results import Run
from netfsfuse.lab.bench.work.base import MountedWork, Recording

_DISTANT = 5
"""Directories that rclone greps over a long link: 34 ms a file at 10 ms would take six minutes for
all of them. What counts is files a second."""

_ABSENT = "no file holds these words"


class Find(MountedWork):
    """``find -ls`` in a fresh mount."""

    def once(self, size: int, number: int) -> Run:
        tree = self.bench.serving.tree(DIRECTORIES, FILES)
        with self.mounted() as mount:
            recording = Recording(mount)
            done = run(["find", str(mount.path / tree), "-ls"])
            seen = done.output.count("\n")
            measured = recording.end([done], 0)
        if seen != 1 + DIRECTORIES + DIRECTORIES * FILES:
            raise BenchError(f"find saw {seen} entries")
        measured.figures["files_per_second"] = seen / done.seconds
        measured.figures["cpu_a_file"] = (measured.client_cpu or 0.0) / seen
        return measured


class Grep(MountedWork):
    """``grep -r`` in a fresh mount, and once more in the same."""

    def once(self, size: int, number: int) -> Run:
        tree = self.bench.serving.tree(DIRECTORIES, FILES)
        is_far = self.contender.kind is Kind.RCLONE and self.cell.link.round_trip > 0
        directories = _DISTANT if is_far else DIRECTORIES
        with self.mounted() as mount:
            places = [str(mount.path / tree / f"d{n:03}") for n in range(directories)]
            if not is_far:
                places = [str(mount.path / tree)]
            recording = Recording(mount)
            done = _grep(places)
            files = directories * FILES
            measured = recording.end([done], files * 4096)
            measured.figures["files_per_second"] = files / done.seconds
            measured.figures["cpu_a_file"] = (measured.client_cpu or 0.0) / files
            before = _messages(mount)
            again = _grep(places)
            measured.figures["again_per_second"] = files / again.seconds
            if isinstance(mount, OurMount):
                measured.figures["again_messages"] = float(_messages(mount) - before)
        return measured


def _grep(places: list[str]) -> Finished:
    """Raises :class:`BenchError` unless grep read all and found nothing."""
    done = run(["grep", "-r", "--", _ABSENT, *places], check=False)
    if done.status != 1:
        raise BenchError(f"grep: {done.reason}")
    return done


def _messages(mount: object) -> int:
    """Requests sent so far, by a mount of ours."""
    if not isinstance(mount, OurMount):
        return 0
    return sum(int(count) for count in mount.counters()["server"]["messages"].values())
