"""A program that does all that programs do to files, beside a model of what must come of it.

It works in an empty folder on a mount, which it knows on the server's own disk as well. It reads,
writes, truncates, maps, renames and reopens files by several handles at once, and holds every
answer beside the model: bytes, sizes, names, and times that never go back. After each fsync, and
each close of a handle that writes, the server's disk must hold the model's bytes.

What differs is reported with the operations before it, the first wrong offset, and the operation
that the wrong bytes are of.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Sequence
from pathlib import Path

from tests.support.exercise import Operation
from tests.support.exercise_files import FileActs
from tests.support.exercise_mappings import MappingActs
from tests.support.exercise_model import Differs, WrongBytes, check
from tests.support.exercise_names import NameActs

_SETTLE_SECONDS = 3.0


class Exerciser(FileActs, MappingActs, NameActs):
    """Does them all; its arguments are those of ``Scene``."""

    def __init__(
        self,
        here: Path,
        there: Path,
        *,
        peer: Path | None = None,
        cachedir: Path | None = None,
        drops_pages: bool = False,
    ) -> None:
        super().__init__(here, there, peer=peer, cachedir=cachedir, drops_pages=drops_pages)
        self._acts: dict[str, Callable[[Operation], None]] = {
            kind: getattr(self, f"_{kind.replace('-', '_')}")
            for kind in (
                *("open", "close", "read", "write", "truncate", "ftruncate", "fsync", "fdatasync"),
                *("map", "load", "store", "msync", "unmap", "stat", "utime", "rename", "unlink"),
                *("list", "forget", "allocate", "copy", "whole", "peer"),
                *("drop-object", "drop-pages"),
            )
        }

    def run(
        self, program: Sequence[Operation], begun: Callable[[int], None] = lambda n: None
    ) -> None:
        """Do it all, then :meth:`settle`; ``begun`` hears the number of each operation.

        Raises :class:`Differs`.
        """
        for number, operation in enumerate(program):
            begun(number)
            try:
                self._acts[operation.kind](operation)
            except (Differs, OSError) as error:
                raise Differs(self._report(program, number, error)) from error
        begun(len(program))
        self.settle()

    def settle(self) -> None:
        """Close all; names, bytes, sizes and times are the same here, there and in the model.

        What a mapping held that is closed last is on the server soon: munmap waits for the mount
        only, and the mount is told of the last close behind the program's back.
        """
        self.close()
        check("names there", set(os.listdir(self._there)), set(self._files))
        for name in self._files:
            end = time.monotonic() + _SETTLE_SECONDS
            while not self._is_there(name) and time.monotonic() < end:
                time.sleep(0.05)
            self._check_there(name)
            self._check_whole(self._here / name, name)
            end = time.monotonic() + _SETTLE_SECONDS
            while (shown := self._times(name))[0] != shown[1]:
                if time.monotonic() > end:
                    raise Differs(f"{name}: modified at {shown[0]} here, {shown[1]} there")
                time.sleep(0.05)

    def _report(self, program: Sequence[Operation], number: int, error: Exception) -> str:
        lines = [f"operation {number}: {program[number]}", f"{type(error).__name__}: {error}"]
        if isinstance(error, WrongBytes):
            for word, piece in (("read", error.seen), ("wanted", error.wanted)):
                origins = [
                    str(each) for each in self._payload.origins(piece, program[: number + 1])
                ]
                lines.append(f"the bytes {word} are of {origins or 'a hole, or nothing'}")
        lines += ["open:", *(f"  {slot}: {each}" for slot, each in self._opens.items())]
        lines += [f"  {slot}: mapping of {each[1]}" for slot, each in self._maps.items()]
        before = program[max(0, number - 30) : number + 1]
        return "\n".join([*lines, "the last operations:", *(f"  {each}" for each in before)])
