"""A read that crosses any edge (page, block, request, buffer, end of file) is whole.

O_DIRECT reads reach us as the program makes them, up to 1 MiB in one piece, at any offset; buffered
ones as the kernel's readahead likes it. An answer may be short at the end of the file only: to
the kernel a short answer *is* the end of the file.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from netfsfuse.lab.server import data
from netfsfuse.lab.server.samba import PrivateSamba
from tests.mount.reading import MIB, content, opened, pread, wait_settled
from tests.support.mounted import Mounted

Mount = Callable[..., Mounted]

EDGES = (4096, 65536, 128 * 1024, 192 * 1024, MIB, 2 * MIB)
LONGEST = 6 * MIB


@st.composite
def near_edges(draw: st.DrawFn, most: int) -> int:
    """A number that likes to lie on, or just beside, a multiple of something."""
    if draw(st.booleans()):
        return draw(st.integers(0, most))
    edge = draw(st.sampled_from(EDGES))
    number = draw(st.integers(0, most // edge)) * edge + draw(st.integers(-2, 2))
    return min(max(number, 0), most)


@st.composite
def reads(draw: st.DrawFn) -> tuple[int, list[tuple[int, int, bool]]]:
    """The size of a file, and reads of it: offset, length, direct."""
    size = draw(near_edges(LONGEST))
    one = st.tuples(near_edges(size + 70_000), near_edges(3 * MIB), st.booleans())
    return size, draw(st.lists(one, min_size=1, max_size=8))


WHOLE = b"".join(data.blocks("edges", LONGEST))


class Sample:
    """Files of the sizes that were drawn, each the beginning of one sequence of bytes."""

    def __init__(self, there: Path, here: Path) -> None:
        self.there, self.here = there, here

    def of(self, size: int, *, settled: bool) -> Path:
        there = self.there / str(size)
        if not there.exists():
            there.write_bytes(WHOLE[:size])
        if settled:
            wait_settled(there)
        return self.here / there.name


@pytest.mark.parametrize("options", ["fsc", "rsize=196608", "nofsc"])
@pytest.mark.parametrize("examples", [25, pytest.param(1500, marks=pytest.mark.soak)])
def test_reads_are_whole(samba: PrivateSamba, mount: Mount, options: str, examples: int) -> None:
    """Files that were just written, files that are cached, and files in between."""
    there = samba.path / f"edges-{options}-{examples}"
    there.mkdir()
    mounted = mount(samba, options)
    sample = Sample(there, mounted.path / there.name)

    @settings(
        max_examples=examples,
        deadline=None,
        suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large],
    )
    @given(drawn=reads(), settled=st.booleans())
    def check(drawn: tuple[int, list[tuple[int, int, bool]]], settled: bool) -> None:
        size, wanted = drawn
        here = sample.of(size, settled=settled)
        with opened(here) as buffered, opened(here, direct=True) as unbuffered:
            for start, length, direct in wanted:
                expected = WHOLE[start : min(start + length, size)]
                got = pread(unbuffered if direct else buffered, start, length)
                assert (len(got), got == expected) == (len(expected), True), (start, length, direct)

    check()
    mounted.remount()
    for path in there.iterdir():
        assert content(sample.here / path.name, direct=True) == WHOLE[: int(path.name)]
    assert mounted.stats()["application"]["errors"] == 0
