"""Whatever the windows, request sizes, channels and credits: the same bytes."""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from netfsfuse.lab.server import data
from netfsfuse.lab.server.samba import PrivateSamba
from tests.mount.reading import MIB, opened, pread, wait_settled
from tests.support.mounted import Mounted

Mount = Callable[..., Mounted]

SIZE = 24 * MIB + 12_345
READS = st.one_of(
    st.tuples(st.just("whole"), st.sampled_from([4096, 100_000, 131_072, MIB])),
    st.tuples(st.just("backward"), st.sampled_from([65_536, 300_000, MIB])),
    st.tuples(st.just("strided"), st.sampled_from([4096, 70_000])),
    st.tuples(st.just("random"), st.integers(0, 1000)),
    st.tuples(st.just("interleaved"), st.sampled_from([65_536, 131_072])),
)


@st.composite
def tunings(draw: st.DrawFn) -> str:
    """Mount options."""
    chosen = [
        draw(st.sampled_from(["fsc", "nofsc"])),
        draw(st.sampled_from(["", "seal", "nosign"])),
    ]
    for name, values in (
        ("rsize", ["64K", "192K", "1M", "8M"]),
        ("rasize", ["64K", "1M", "64M"]),
        ("max_channels", ["2", "3", "8"]),
        ("max_credits", ["20", "64", "500"]),
    ):
        value = draw(st.none() | st.sampled_from(values))
        if value is not None:
            chosen.append(f"{name}={value}")
    return ",".join(filter(None, chosen))


def positions(kind: str, number: int) -> list[tuple[int, int]]:
    """(start, length) of each read."""
    if kind == "random":
        return [(n * 7_919 * (number + 1) % SIZE, 4096 + n * 3000) for n in range(40)]
    if kind == "strided":
        return [(at, number) for at in range(0, SIZE, 5 * number)]
    forward = [(at, number) for at in range(0, SIZE, number)]
    if kind == "backward":
        return forward[::-1]
    if kind == "interleaved":
        half = len(forward) // 2
        return [read for pair in zip(forward[:half], forward[half:], strict=False) for read in pair]
    return forward


def check(here: Path, content: bytes, kind: str, number: int) -> None:
    with opened(here) as fd:
        os.posix_fadvise(fd, 0, 0, os.POSIX_FADV_DONTNEED)
        for start, length in positions(kind, number):
            assert pread(fd, start, length) == content[start : start + length], (kind, start)


@pytest.mark.parametrize(
    "examples",
    [10, pytest.param(200, marks=[pytest.mark.soak, pytest.mark.timeout(3000)])],
)
def test_the_same_bytes(samba: PrivateSamba, mount: Mount, examples: int) -> None:
    there = samba.path / f"tuned-{examples}"
    data.write_file(there, SIZE)
    wait_settled(there)

    @settings(
        max_examples=examples, deadline=None, suppress_health_check=list(HealthCheck), database=None
    )
    @given(options=tunings(), reads=st.lists(READS, min_size=1, max_size=3))
    def same_bytes(options: str, reads: list[tuple[str, int]]) -> None:
        content = there.read_bytes()
        mounted = mount(samba, options)
        with ThreadPoolExecutor(len(reads)) as pool:
            for done in [pool.submit(check, mounted.path / there.name, content, *r) for r in reads]:
                done.result()
        with there.open("r+b") as file:  # and after a change, none of the old ones
            file.write(os.urandom(100_000))
        time.sleep(1.0)  # where a watch speaks for the file, that is what is promised
        check(mounted.path / there.name, there.read_bytes(), *reads[0])
        assert mounted.stats()["application"]["errors"] == 0
        mounted.remove()

    same_bytes()
