"""Runs an exerciser in a process of its own, and finds the shortest program that still fails.

    python -m tests.support.exercising HERE THERE --seed 7 --count 5000 [--shrink 60]

``HERE`` is a folder on a mount, ``THERE`` the same one on the server's own disk (for a try without
a mount: the same path twice). Exit status 1 and a report if anything differs. The seed repeats it;
``--shrink`` gives some seconds to look for the fewest operations that still fail. ``--program`` is
a file that a report named: it repeats just these.

Each attempt has a folder and a process of its own: one that is killed (SIGBUS behind the end of a
file that should be longer), or stands still, is a failure like others.
"""

from __future__ import annotations

import argparse
import faulthandler
import json
import mmap
import os
import select
import shutil
import signal
import struct
import subprocess
import sys
import tempfile
import time
import traceback
from collections.abc import Callable, Sequence
from dataclasses import astuple
from pathlib import Path
from typing import Any

from tests.support.exercise import Operation, operations
from tests.support.exercise_model import Differs
from tests.support.exerciser import Exerciser
from tests.support.until import until

_ATTEMPTS = 4
"""Of a shorter program, before it is taken for one that does not fail: much is a matter of time."""
STANDS_STILL = 45.0
"""Seconds without an operation done: the mount itself gives up after 30."""


def exercise(here: Path, there: Path, *options: str, timeout: float) -> None:
    """As the command line says, to its end; AssertionError with the report of what differs."""
    words = [sys.executable, "-m", "tests.support.exercising", str(here), str(there), *options]
    root = Path(__file__).resolve().parents[2]
    done = subprocess.run(
        words, cwd=root, capture_output=True, text=True, timeout=timeout, check=False
    )
    assert done.returncode == 0, f"{' '.join(options)}\n{done.stdout}{done.stderr}"


class Attempts:
    """Runs programs in new folders below ``here`` and ``there``; ``more``: to exercisers.

    ``keep`` leaves the files of a program in which nothing differed.
    """

    def __init__(
        self, here: Path, there: Path, peer: Path | None, *, keep: bool = False, **more: Any
    ) -> None:
        self._keep = keep
        self._here = here
        self._there = there
        self._peer = peer
        self._more = more
        self.done = 0
        self.last = ""

    def fails(self, program: Sequence[Operation]) -> str:
        """The report of what differs; empty if nothing does."""
        folder = Path(tempfile.mkdtemp(prefix="exercise-", dir=self._there))
        folder.chmod(0o777)
        # Its inode number may be that of the folder of the last attempt, which was removed just
        # now on the server's own disk: that is seen within a second.
        for seen in filter(None, (self._here, self._peer)):
            until(lambda seen=seen: _is_empty(seen / folder.name), 3.0, "the folder is empty")
        progress = mmap.mmap(-1, 8)
        read_end, write_end = os.pipe()
        child = os.fork()
        if not child:
            os.close(read_end)
            self._in_child(program, folder.name, progress, write_end)
        os.close(write_end)
        report = self._wait(child, read_end, progress)
        self.done = struct.unpack("q", progress)[0]
        if not report and not self._keep:
            shutil.rmtree(folder, ignore_errors=True)
        return report and f"in {folder.name}, after {self.done} operations:\n{report}"

    def fails_at_times(self, program: Sequence[Operation]) -> bool:
        """Whether one of some attempts does; ``last`` is its report then."""
        for _ in range(_ATTEMPTS):
            if report := self.fails(program):
                self.last = report
                return True
        return False

    def _in_child(
        self, program: Sequence[Operation], name: str, progress: mmap.mmap, report: int
    ) -> None:
        """Does not return."""
        faulthandler.disable()  # what kills it is said by its status
        status = 3
        try:
            peer = self._peer and self._peer / name
            exerciser = Exerciser(self._here / name, self._there / name, peer=peer, **self._more)
            try:
                exerciser.run(program, lambda n: struct.pack_into("q", progress, 0, n))
                status = 0
            except (Differs, OSError) as error:
                os.write(report, f"{error}".encode()[:60_000])
                status = 1
                exerciser.close()
        except BaseException:
            os.write(report, traceback.format_exc().encode())
        finally:
            os._exit(status)

    @staticmethod
    def _wait(child: int, report: int, progress: mmap.mmap) -> str:
        """What the child says before it ends, or how it ended without a word."""
        done, since, said = -1, time.monotonic(), b""
        with os.fdopen(report, "rb", buffering=0) as pipe:
            while True:
                if select.select([pipe], [], [], 1.0)[0]:
                    piece = pipe.read(65536)
                    if not piece:
                        break
                    said += piece
                if (now := struct.unpack("q", progress)[0]) != done:
                    done, since = now, time.monotonic()
                elif time.monotonic() > since + STANDS_STILL:
                    os.kill(child, signal.SIGKILL)
                    said += b"stands still"
        status = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
        if status < 0 and not said:
            said = f"killed by {signal.Signals(-status).name}".encode()
        return said.decode() or ("" if status == 0 else f"exit status {status}")


def _is_empty(folder: Path) -> bool:
    try:
        return not os.listdir(folder)
    except FileNotFoundError:
        return True


def shortest(
    program: list[Operation], fails: Callable[[Sequence[Operation]], bool], seconds: float
) -> list[Operation]:
    """The program without what it fails without: halves, quarters and so on are left out in turn
    (delta debugging), for about ``seconds``."""
    end, piece = time.monotonic() + seconds, len(program) // 2
    while piece:
        start, shorter = 0, False
        while start < len(program) and time.monotonic() < end:
            candidate = program[:start] + program[start + piece :]
            if candidate and fails(candidate):
                program, shorter = candidate, True
            else:
                start += piece
        if time.monotonic() > end:
            break
        if not shorter or piece > 1:
            piece //= 2
    return program


def _arguments(words: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser()
    parser.add_argument("here", type=Path)
    parser.add_argument("there", type=Path)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--count", type=int, default=5000)
    parser.add_argument("--program", type=Path)
    parser.add_argument("--peer", type=Path, help="the same folder on another mount")
    parser.add_argument("--cachedir", type=Path, help="drop its objects at times")
    parser.add_argument("--drop-pages", action="store_true", help="of the whole machine, at times")
    parser.add_argument("--keep", action="store_true", help="the files, though nothing differs")
    parser.add_argument("--shrink", type=float, default=0.0, metavar="SECONDS")
    return parser.parse_args(words)


def main(words: Sequence[str] | None = None) -> int:
    """The exit status."""
    given = _arguments(words)
    if given.program:
        program = [Operation(*each) for each in json.loads(given.program.read_text())]
    else:
        program = operations(given.seed, given.count)
    attempts = Attempts(
        given.here,
        given.there,
        given.peer,
        keep=given.keep,
        cachedir=given.cachedir,
        drops_pages=given.drop_pages,
    )
    begin = time.monotonic()
    report = attempts.fails(program)
    if not report:
        rate = len(program) / (time.monotonic() - begin) * 60
        print(f"{len(program)} operations, nothing differs, {rate:.0f} a minute")
        return 0
    print(f"seed {given.seed}, {report}", flush=True)
    program = program[: attempts.done + 1]
    if given.shrink:
        program = shortest(program, attempts.fails_at_times, given.shrink)
        print(f"\nshortest of {len(program)} operations:\n{attempts.last or report}")
        print("\n".join(map(str, program)))
    handle, name = tempfile.mkstemp(prefix="exercise-", suffix=".json")
    with os.fdopen(handle, "w") as file:
        json.dump([astuple(each) for each in program], file)
    print(f"repeat it with --program {name}")
    return 1


if __name__ == "__main__":
    sys.exit(main())
