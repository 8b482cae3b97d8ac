"""A cache of very many objects: bound at once, culled and listed in constant memory."""

from __future__ import annotations

import json
import subprocess
import sys
import time
from pathlib import Path

import pytest

from cachefiles import Cache

MIB = 1024 * 1024
SIZE = 100

CULL = """
import json, pathlib, sys, time
from cachefiles import Cache, Culler, Faults, Step
from cachefiles.limits import Excess

def peak():
    status = pathlib.Path("/proc/self/status").read_text()
    return 1024 * int(status.partition("VmHWM:")[2].split()[0])

begin = time.monotonic()
faults = Faults()
cache = Cache.bind(pathlib.Path(sys.argv[1]), faults)
bound, calls = time.monotonic() - begin, sum(faults.calls.values())
goal = int(sys.argv[2])
before = peak()
begin = time.process_time()
culler = Culler(cache, lambda: Excess(max(0, goal - culler.gone)), recount=True)
longest, step = 0.0, Step.MORE
while step is Step.MORE:
    at = time.monotonic()
    step = culler.step(0.004)
    longest = max(longest, time.monotonic() - at)
print(json.dumps({"bound": bound, "calls": calls, "growth": peak() - before, "gone": culler.gone,
    "longest": longest, "cpu": time.process_time() - begin}))
cache.close()
"""


def fill(cachedir: Path, count: int) -> None:
    cache = Cache.bind(cachedir)
    volume = cache.volume(b"v")
    data = memoryview(bytes(range(SIZE)))
    for number in range(count):
        key = b"%08d" % number
        file, _ = volume.open(key, SIZE, b"c", label=b"some/folder/" + key)
        assert file.write(0, data)
        file.close()
    cache.close()


def many(cachedir: Path, count: int) -> dict[str, float]:
    """Bind, cull a tenth, list; what was measured."""
    fill(cachedir, count)
    said = subprocess.run(
        [sys.executable, "-c", CULL, cachedir, str(count // 10)],
        check=True,
        capture_output=True,
        text=True,
    )
    found = json.loads(said.stdout)
    assert found["gone"] == count // 10
    begin = time.monotonic()
    with subprocess.Popen(
        [sys.executable, "-m", "cachefiles", "--cachedir", cachedir, "list"],
        stdout=subprocess.PIPE,
        text=True,
    ) as listing:
        assert listing.stdout is not None
        listing.stdout.readline()
        found["first line"] = time.monotonic() - begin
        lines = 1 + sum(1 for _ in listing.stdout)
    assert lines == count - count // 10
    print(count, found)
    return found


def test_three_thousand(cachedir):
    found = many(cachedir, 3_000)
    assert found["growth"] < 30 * MIB
    assert found["calls"] < 100  # to bind walks over nothing


@pytest.mark.soak
def test_a_hundred_thousand(tmp_path):
    found = many(tmp_path / "cache", 100_000)
    assert found["growth"] < 30 * MIB
    assert found["bound"] < 1.0
    assert found["first line"] < 1.0
