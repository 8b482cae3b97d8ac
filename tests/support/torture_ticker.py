"""A pulse of a trio loop that another process can feel without asking the loop anything.

The pulse lives in a small file that both sides map: a request through the mount would wake the very
loop whose standstill is looked for.
"""

from __future__ import annotations

import mmap
import struct
import time
from pathlib import Path

import trio

_LAYOUT = struct.Struct("<Qd")  # beats so far, largest gap in seconds
BEAT = 0.01
"""Seconds between two beats of a loop that is well."""


class Ticker:
    """The side of the loop: :meth:`run` is a task that beats until it is cancelled."""

    def __init__(self, file: Path) -> None:
        self._map = _mapped(file)
        self.beats = 0
        self.largest_gap = 0.0

    async def run(self) -> None:
        """Beat, and remember the largest gap between two beats."""
        last = time.monotonic()
        while True:
            await trio.sleep(BEAT)
            now = time.monotonic()
            self.beats += 1
            self.largest_gap = max(self.largest_gap, now - last)
            last = now
            _LAYOUT.pack_into(self._map, 0, self.beats, self.largest_gap)


class Pulse:
    """The side of the test."""

    def __init__(self, file: Path) -> None:
        file.write_bytes(bytes(mmap.PAGESIZE))
        self._map = _mapped(file)

    @property
    def beats(self) -> int:
        """Beats so far."""
        beats: int = _LAYOUT.unpack_from(self._map)[0]
        return beats

    @property
    def largest_gap(self) -> float:
        """The longest time without a beat so far, seconds; the one under way not counted."""
        gap: float = _LAYOUT.unpack_from(self._map)[1]
        return gap

    def wait_beats(self, more: int, patience: float) -> bool:
        """Wait for ``more`` beats from now on; whether they came within ``patience`` seconds."""
        wanted = self.beats + more
        deadline = time.monotonic() + patience
        while self.beats < wanted:
            if time.monotonic() > deadline:
                return False
            time.sleep(BEAT / 4)
        return True


def _mapped(file: Path) -> mmap.mmap:
    with file.open("r+b") as opened:
        return mmap.mmap(opened.fileno(), mmap.PAGESIZE)
