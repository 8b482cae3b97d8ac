"""Four readers fill a cache while somebody changes files on the server, until something crashes.

The readers take whole files past the kernel's pages and note what they had when. After the crash
and a new mount everything is compared, and what was read two seconds before must still be there.
"""

from __future__ import annotations

import os
import random
import threading
import time
from collections.abc import Callable
from pathlib import Path

from tests.mount.reading import MIB, compare, opened, pread
from tests.support.mounted import Mounted

READERS = 4
SETTLE = 2.0
"""Seconds after which what was read must outlive any crash."""


class CrashTorture:
    """``files`` of ``size`` bytes that stay, and ``changing`` ones, in a folder on the server."""

    def __init__(self, folder: Path, files: int, changing: int, size: int, seed: int) -> None:
        self.folder = folder
        self.size = size
        self._chance = random.Random(seed)
        self.files = [folder / f"stays-{number}" for number in range(files)]
        self.changing = [folder / f"changes-{number}" for number in range(changing)]
        for file in [*self.files, *self.changing]:
            file.write_bytes(self._chance.randbytes(size))
        self._lock = threading.Lock()
        self._read: dict[Path, float] = {}

    def round(self, mounted: Mounted, seconds: float, crash: Callable[[], None]) -> float:
        """Fill for ``seconds``, ``crash`` (which must bring the mount back), compare everything.

        Returns the share of what was read ``SETTLE`` before that was not fetched again, 1.0 where
        there is nothing yet.
        """
        over = threading.Event()
        seeds = [self._chance.random() for _ in range(READERS + 1)]
        threads = [
            threading.Thread(target=self._fill, args=(mounted, over, random.Random(seed)))
            for seed in seeds[1:]
        ]
        threads.append(threading.Thread(target=self._change, args=(over, random.Random(seeds[0]))))
        for thread in threads:
            thread.start()
        time.sleep(seconds)  # not a wait: the moment of the crash
        begin = time.monotonic()
        try:
            crash()
        finally:
            over.set()
            for thread in threads:
                thread.join()
        settled = [file for file, when in self._read.items() if when <= begin - SETTLE]
        before = mounted.stats()["server"]["bytes"]
        for file in settled:
            self._compare(mounted, file)
        fetched = mounted.stats()["server"]["bytes"] - before
        for file in [*self.files, *self.changing]:
            self._compare(mounted, file)
        now = time.monotonic()
        self._read = dict.fromkeys(self.files, now)
        return 1.0 if not settled else 1 - fetched / (len(settled) * self.size)

    def forget_some(self, mounted: Mounted, share: float) -> None:
        """Change a share of the files that stay, so that there is something to fetch again."""
        for file in self._chance.sample(self.files, int(len(self.files) * share)):
            file.write_bytes(self._chance.randbytes(self.size))
            self._read.pop(file, None)

    def _fill(self, mounted: Mounted, over: threading.Event, chance: random.Random) -> None:
        while not over.is_set():
            file = chance.choice([*self.files, *self.changing])
            try:
                with opened(mounted.path / file.relative_to(mounted.samba.path), direct=True) as fd:
                    for at in range(0, self.size, MIB):
                        if over.is_set():
                            return
                        pread(fd, at, MIB)
            except OSError:  # the daemon is dead, or the file changed under the reader
                if over.wait(0.01):
                    return
                continue
            if file in self.files:
                with self._lock:
                    self._read.setdefault(file, time.monotonic())

    def _change(self, over: threading.Event, chance: random.Random) -> None:
        while not over.wait(chance.uniform(0.02, 0.2)):
            file = chance.choice(self.changing)
            fresh = file.with_name("fresh")
            size = self.size + chance.choice([0, 0, 1, -7])
            fresh.write_bytes(chance.randbytes(size))
            if chance.random() < 0.5:
                os.replace(fresh, file)
            else:
                file.write_bytes(fresh.read_bytes())

    def _compare(self, mounted: Mounted, file: Path) -> None:
        compare(mounted.path / file.relative_to(mounted.samba.path), file)
