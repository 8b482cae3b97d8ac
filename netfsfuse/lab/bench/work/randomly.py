"""4 KiB at random from a cold file, by fio."""

from __future__ import annotations

import json
import shutil
import sys

from netfsfuse.lab.bench.errors import NotHere
from netfsfuse.lab.bench.process import run
from netfsfuse.lab.bench.results import Run
from netfsfuse.lab.bench.work.base import MountedWork, Recording

_SECONDS = 3
_SINGLES = 16
_PYTHON = (sys.executable, "-I", "-S", "-c")
# Each 4 KiB far from all others and not in order: nothing of it is there, and nothing helps it.
_READER = """
import os, sys
size, count = int(sys.argv[2]), int(sys.argv[3])
fd = os.open(sys.argv[1], os.O_RDONLY)
for number in range(count):
    at = (number * 7 % count + 1) * (size // (count + 2)) // 4096 * 4096
    assert len(os.pread(fd, 4096, at)) == 4096
"""
BLOCK = 4096


class Random(MountedWork):
    """fio for three seconds. Direct reads: the kernel neither keeps them nor reads ahead."""

    def once(self, size: int, number: int) -> Run:
        if shutil.which("fio") is None:
            raise NotHere("fio is not installed")
        file = self.bench.serving.file(size)
        file.warm()
        with self.mounted() as mount:
            path = str(mount.path / file.name)
            recording = Recording(mount)
            done = run([*_PYTHON, _READER, path, str(file.size), str(_SINGLES)])
            singles = recording.end([done], _SINGLES * BLOCK).server_bytes
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
        if singles is not None:
            measured.figures["server_bytes_a_cold_read"] = singles / _SINGLES
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
