"""Random programs against random changes, by Hypothesis.

A program opens, keeps open, reads ranges and closes files on the mount, while they are changed on
the server's own disk in every way that a user there has. The model is that disk: a fresh open
reads what it holds, an old handle pages of any version that its own file has had.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, rule, run_state_machine_as_test

from netfsfuse.lab.server.samba import PrivateSamba
from tests.mount.reading import MIB, is_own, opened, pread, wait_settled
from tests.support.mounted import Mounted

Mount = Callable[..., Mounted]

PAGE = 4096
PROMISED = 0.02
NAMES = st.sampled_from(["a", "b"])
SIZES = st.one_of(st.sampled_from([0, 1, PAGE, 65536, MIB]), st.integers(0, 3 * MIB))
RANGES = st.tuples(st.integers(0, 3 * MIB), st.sampled_from([1, 5000, 131_072, MIB + 1]))


def body(version: int, size: int) -> bytes:
    """Bytes that tell their version in every line; none is zero."""
    line = (b"version %08d " % version).ljust(32, b"#")
    return (line * (size // len(line) + 1))[:size]


@dataclass
class Life:
    """One file of the server's disk from its making to its end, with all it ever held."""

    versions: list[bytes] = field(default_factory=list)

    def may_read(self, start: int, got: bytes) -> bool:
        """Whether an old handle may read this: each page from some version of this file."""
        position = 0
        while position < len(got):
            at = start + position
            piece = got[position : position + PAGE - at % PAGE]
            if not is_own(piece, at, self.versions):
                return False
            position += len(piece)
        return True


@dataclass
class Held:
    """A descriptor that a program keeps."""

    fd: int
    life: Life


class Programs(RuleBasedStateMachine):
    """See the module. ``there`` and ``here``: one folder, on the server's disk and on the mount."""

    counter = 0

    def __init__(self, there: Path, here: Path) -> None:
        super().__init__()
        Programs.counter += 1
        self.there, self.here = there / str(self.counter), here / str(self.counter)
        self.there.mkdir()
        self.version = 0
        self.held: list[Held] = []
        self.lives: dict[str, Life] = {}
        for name in ("a", "b"):
            self.make(name, 200_000)

    def make(self, name: str, size: int) -> None:
        """A new file under the name; what was there before goes on for those who have it open."""
        self.version += 1
        content = body(self.version, size)
        (self.there / "new").write_bytes(content)
        (self.there / "new").rename(self.there / name)
        self.lives[name] = Life([content])

    def note(self, name: str) -> None:
        """The change is done: 20 ms later everybody who opens must see it."""
        self.lives[name].versions.append((self.there / name).read_bytes())
        time.sleep(PROMISED)

    @rule(name=NAMES, size=SIZES)
    def save_atomically(self, name: str, size: int) -> None:
        self.make(name, size)
        time.sleep(PROMISED)

    @rule(name=NAMES, size=SIZES)
    def delete_and_make_anew(self, name: str, size: int) -> None:
        (self.there / name).unlink()
        self.make(name, size)
        time.sleep(PROMISED)

    @rule(name=NAMES, where=RANGES)
    def write_in_place(self, name: str, where: tuple[int, int]) -> None:
        self.version += 1
        size = (self.there / name).stat().st_size
        start = where[0] % (size + 1)
        with (self.there / name).open("r+b", buffering=0) as file:
            file.seek(start)
            file.write(body(self.version, min(where[1], size - start)))
        self.note(name)

    @rule(name=NAMES, size=st.integers(1, 300_000))
    def append(self, name: str, size: int) -> None:
        self.version += 1
        with (self.there / name).open("ab", buffering=0) as file:
            file.write(body(self.version, size))
        self.note(name)

    @rule(name=NAMES, share=st.floats(0, 1))
    def truncate(self, name: str, share: float) -> None:
        path = self.there / name
        os.truncate(path, int(path.stat().st_size * share))
        self.note(name)

    @rule(name=NAMES)
    def settle(self, name: str) -> None:
        """From now on what is read may be kept."""
        wait_settled(self.there / name)

    @rule(name=NAMES, direct=st.booleans(), wanted=st.lists(RANGES, min_size=1, max_size=4))
    def read_anew(self, name: str, direct: bool, wanted: list[tuple[int, int]]) -> None:
        content = self.lives[name].versions[-1]
        with opened(self.here / name, direct=direct) as fd:
            for start, length in wanted:
                got = pread(fd, start, length)
                assert got == content[start : start + length], (name, start, length, got[:40])

    @rule(name=NAMES, direct=st.booleans(), settled=st.booleans())
    def keep_open(self, name: str, direct: bool, settled: bool) -> None:
        """``settled``: what is read by this handle may be kept, and shared."""
        if len(self.held) < 6:
            if settled:
                wait_settled(self.there / name)
            flags = os.O_RDONLY | (os.O_DIRECT if direct else 0)
            self.held.append(Held(os.open(self.here / name, flags), self.lives[name]))

    @rule(which=st.integers(0, 5), where=RANGES)
    def read_by_old_handle(self, which: int, where: tuple[int, int]) -> None:
        if which < len(self.held):
            held = self.held[which]
            try:
                got = pread(held.fd, *where)
            except OSError:
                return
            assert held.life.may_read(where[0], got), (where, got[:40])

    @rule(which=st.integers(0, 5))
    def close(self, which: int) -> None:
        if which < len(self.held):
            with suppress(OSError):  # see teardown
                os.close(self.held.pop(which).fd)

    def teardown(self) -> None:
        for held in self.held:
            # Its number may have been given away before it was held open on the server: then the
            # kernel has given the file up.
            with suppress(OSError):
                os.close(held.fd)


@pytest.mark.parametrize("options", ["fsc", "nofsc"])
@pytest.mark.parametrize(
    ("examples", "steps"),
    [(8, 30), pytest.param(300, 60, marks=[pytest.mark.soak, pytest.mark.timeout(3000)])],
)
def test_programs_against_changes(
    samba: PrivateSamba, mount: Mount, options: str, examples: int, steps: int
) -> None:
    """No wrong byte, no error that nobody foresaw."""
    there = samba.path / f"programs-{options}-{examples}"
    there.mkdir()
    mounted = mount(samba, options, "nolease")  # the others promise a second
    run_state_machine_as_test(
        lambda: Programs(there, mounted.path / there.name),
        settings=settings(
            max_examples=examples,
            stateful_step_count=steps,
            deadline=None,
            suppress_health_check=list(HealthCheck),
        ),
    )
    assert mounted.stats()["application"]["errors"] == 0
