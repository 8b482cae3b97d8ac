"""4 KiB at random from a cold file, by fio."""

from __future__ import annotations

import json
import shutil

from netfsfuse.bench.errors import NotHere
from netfsfuse.bench.process import run
from netfsfuse.bench.results import Run
from netfsfuse.bench.work.base import MountedWork, Recording

_SECONDS = 3
BLOCK = 4096


class Random(MountedWork):
    """fio for three seconds. Direct reads: the kernel neither keeps them nor reads ahead."""

    def once(self, size: int, number: int) -> Run:
        if shutil.which("fio") is None:
            raise NotHere("fio is not installed")
        file = self.bench.serving.file(size)
        file.warm()
        with self.mounted() as mount:
            recording = Recording(mount)
            words = fio_command(str(mount.path / file.name), file.size, self.cell.depth)
            done = run(words, cwd=self.folder)
            report = json.loads(done.output[done.output.index("{") :])["jobs"][0]["read"]
            measured = recording.end([done], report["io_bytes"], report["runtime"] / 1000)
        latency = report["clat_ns"]
        measured.figures["iops"] = report["iops"]
        measured.figures["latency_seconds"] = latency["percentile"]["50.000000"] / 1e9
        measured.figures["latency_p99_seconds"] = latency["percentile"]["99.000000"] / 1e9
        if measured.server_bytes is not None and report["total_ios"]:
            measured.figures["server_bytes_a_read"] = measured.server_bytes / report["total_ios"]
        return measured


def fio_command(path: str, size: int, depth: int) -> list[str]:
    """Random 4 KiB reads with ``depth`` of them in flight, no offset twice."""
    return [
        "fio",
        "--name=random",
        f"--filename={path}",
        f"--size={size}",
        "--readonly",
        "--rw=randread",
        f"--bs={BLOCK}",
        "--direct=1",
        "--ioengine=libaio",
        f"--iodepth={depth}",
        f"--runtime={_SECONDS}",
        "--randseed=3",
        "--output-format=json",
    ]
