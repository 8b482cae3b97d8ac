"""The exerciser finds nothing on a file system that is right, and each fault of one that is not."""

from __future__ import annotations

import itertools
import os
import time
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace

import pytest

from tests.support.exercise import NAMES, Operation, Payload, operations
from tests.support.exercise_model import Differs
from tests.support.exerciser import Exerciser
from tests.support.exercising import Attempts, exercise, shortest

COUNT = 3000


def run(folder: Path, seed: int, there: Path | None = None) -> None:
    exerciser = Exerciser(folder, there or folder)
    try:
        exerciser.run(operations(seed, COUNT))
    finally:
        exerciser.close()


@pytest.fixture
def folder(session_folder: Path, tmp_path: Path) -> Path:
    """On a disk, where O_DIRECT is known."""
    made = session_folder / tmp_path.name
    made.mkdir(parents=True)
    return made


@pytest.mark.parametrize("seed", range(3))
def test_nothing_differs_on_a_local_disk(folder: Path, seed: int) -> None:
    run(folder, seed)


def test_a_program_is_told_by_its_seed() -> None:
    assert operations(7, 500) == operations(7, 900)[:500]
    assert operations(7, 500) != operations(8, 500)


def test_each_byte_tells_its_operation() -> None:
    payload = Payload()
    program = [Operation("write", length=70_000, stamp=stamp) for stamp in range(50)]
    piece = bytes(payload.of(33, 70_000)[5000:5016])
    assert 33 in [each.stamp for each in payload.origins(piece, program)]
    assert [*payload.origins(b"\0" * 16, program)] == []
    assert 0 not in bytes(payload.of(1, 1_000_000))


Call = Callable[..., object]


def loses_the_last_byte(real: Call) -> Call:
    def pwrite(fd: int, piece: memoryview, start: int) -> object:
        real(fd, piece[: len(piece) - (len(piece) > 5000)], start)
        return len(piece)

    return pwrite


def appends_where_it_likes(real: Call) -> Call:
    def write(fd: int, piece: memoryview) -> object:
        return real(fd, bytes(piece)[::-1])

    return write


def forgets_to_truncate(real: Call) -> Call:
    return lambda fd, size: real(fd, size) if size else None


def brings_back_an_old_time(real: Call) -> Call:
    times = itertools.count(time.time_ns(), -1_000_000_000)

    def stat(path: object, **more: object) -> object:
        seen = real(path, **more)
        old = next(times) if path.name in NAMES else 0  # type: ignore[attr-defined]
        return SimpleNamespace(st_size=seen.st_size, st_mtime_ns=old)  # type: ignore[attr-defined]

    return stat


@pytest.mark.parametrize(
    ("name", "broken"),
    [
        ("pwrite", loses_the_last_byte),
        ("write", appends_where_it_likes),
        ("ftruncate", forgets_to_truncate),
        ("stat", brings_back_an_old_time),
        ("unlink", lambda real: lambda path: None),
        ("rename", lambda real: lambda path, to: None),
        ("utime", lambda real: lambda path, ns: None),
    ],
)
def test_each_fault_is_found(
    folder: Path, monkeypatch: pytest.MonkeyPatch, name: str, broken: Callable[[Call], Call]
) -> None:
    monkeypatch.setattr(os, name, broken(getattr(os, name)))
    with pytest.raises(Differs, match="the last operations"):
        run(folder, 1)


def test_a_server_that_has_not_got_it_yet_is_found(folder: Path) -> None:
    """The mount is right, and the disk of the server lags behind."""
    (folder / "there").mkdir()
    (folder / "here").mkdir()
    for name in NAMES:
        (folder / "there" / name).touch()
    with pytest.raises(Differs, match="there"):
        run(folder / "here", 1, folder / "there")


def test_a_short_program_is_found() -> None:
    program = operations(3, 700)
    needed = {program[17], program[400], program[401]}
    found = shortest(program, lambda each: needed <= set(each), 20.0)
    assert set(found) == needed


def test_one_that_is_killed_is_a_failure(folder: Path) -> None:
    """As by a file that is shorter than it should be, under its mapping."""
    attempts = Attempts(folder, folder, None)
    program = [
        Operation("open", flags=os.O_RDWR | os.O_CREAT),
        Operation("write", length=8192, stamp=1),
        Operation("map"),
        Operation("load", length=8192),
    ]
    assert attempts.fails(program) == ""
    assert attempts.done == len(program)
    real = os.pwrite
    os.pwrite = lambda fd, piece, start: len(piece)  # type: ignore[assignment]
    try:
        assert "SIGBUS" in attempts.fails(program)
    finally:
        os.pwrite = real


def test_the_command_says_what_differs(folder: Path) -> None:
    (folder / "there").mkdir()
    (folder / "here").mkdir()
    begin = time.monotonic()
    exercise(folder, folder, "--count", "500", timeout=60)
    with pytest.raises(AssertionError, match="repeat it with --program"):
        exercise(folder / "here", folder / "there", "--count", "500", timeout=60)
    assert time.monotonic() - begin < 60
