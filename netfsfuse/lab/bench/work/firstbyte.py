"""How long a reader waits for 4 KiB of a cold file: alone, and while a big copy fills the link."""

from __future__ import annotations

import json
import sys
import time
from pathlib import Path

from netfsfuse.lab.bench.errors import BenchError
from netfsfuse.lab.bench.plan import MIB
from netfsfuse.lab.bench.process import Program, run
from netfsfuse.lab.bench.results import Run
from netfsfuse.lab.bench.serving import ServedFile
from netfsfuse.lab.bench.spread import spread
from netfsfuse.lab.bench.work.base import MountedWork, dd
from netfsfuse.lab.bench.work.many import warm_all

_SAMPLES = 12
_FILE = MIB
_UNDER_WAY = 0.7
"""Seconds that the copy has run when the first sample is taken: its window is open by then."""
_APART = 0.1  # s between two samples

_SAMPLING = 2.5
"""Seconds after which no further sample begins: the copy runs for four."""
_FEWEST = 3

# Opens and reads each file once and prints the seconds of each, as one process: an interpreter's
# start is not what is asked for.
_READER = """
import json, os, sys, time
taken = []
end = time.monotonic() + float(sys.argv[2])
for path in sys.argv[3:]:
    begin = time.monotonic()
    if begin > end:
        break
    fd = os.open(path, os.O_RDONLY)
    os.pread(fd, 4096, 0)
    taken.append(time.monotonic() - begin)
    os.close(fd)
    time.sleep(float(sys.argv[1]))
print(json.dumps(taken))
"""


class FirstByte(MountedWork):
    """``seconds`` of the run is the idle latency; both are in its figures."""

    def once(self, size: int, number: int) -> Run:
        small = self.bench.serving.files("first", 2 * _SAMPLES, _FILE)
        big = self.bench.serving.file(size)
        warm_all([*small, big])
        with self.mounted() as mount:
            idle = self._wait_for(mount.path, small[:_SAMPLES])
            mount.meter.reset_peak()
            copy = Program(dd(mount.path / big.name, big))
            try:
                time.sleep(_UNDER_WAY)
                busy = self._wait_for(mount.path, small[_SAMPLES:])
                if not copy.running or len(busy) < _FEWEST:
                    raise BenchError("the big copy ended before enough first bytes came")
                copy.kill()
            finally:
                copy.kill()
            measured = Run(_median(idle), peak_rss=mount.meter.peak_rss())
        measured.figures |= {
            "idle_seconds": _median(idle),
            "idle_most_seconds": max(idle),
            "busy_seconds": _median(busy),
            "busy_most_seconds": max(busy),
        }
        return measured

    def _wait_for(self, mounted: Path, files: list[ServedFile]) -> list[float]:
        words = [sys.executable, "-I", "-S", "-c", _READER, str(_APART), str(_SAMPLING)]
        done = run([*words, *(str(mounted / file.name) for file in files)])
        taken: list[float] = json.loads(done.output)
        return taken


def _median(values: list[float]) -> float:
    found = spread(values)
    assert found is not None
    return found.median
