"""Our own mount, made and removed by the real command."""

from __future__ import annotations

import json
import shutil
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from netfsfuse.lab import mounts
from netfsfuse.lab.bench.errors import BenchError
from netfsfuse.lab.bench.process import Meter, run
from netfsfuse.lab.bench.target import Target
from netfsfuse.stats import STATS_XATTR

# A child, because a process that asks a hung mount hangs too. 15 ms; `netfsfuse stats`: 200 ms.
_ASK = "import os,sys;sys.stdout.buffer.write(os.getxattr(sys.argv[1],sys.argv[2]))"
_SETTLE_SECONDS = 5.0
_SETTLE_POLL = 0.05


class OurMount:
    """A context manager: mounted inside, unmounted and the daemon gone outside.

    ``folder`` gets the mount point and the log; ``cachedir`` is the caller's, and stays.
    """

    def __init__(
        self, target: Target, folder: Path, cachedir: Path, options: Sequence[str] = ()
    ) -> None:
        self._target = target
        self.path = folder / "ours"
        self.cachedir = cachedir
        self._log = folder / "ours.log"
        self._options = [*target.options, *options]
        self.mount_seconds = 0.0
        self.pid = 0

    def __enter__(self) -> Self:
        self.path.mkdir(exist_ok=True)
        self.cachedir.mkdir(exist_ok=True, mode=0o700)
        options = [f"cachedir={self.cachedir}", f"log={self._log}", *self._options]
        if self._target.username:
            options.insert(0, f"user={self._target.username}")
        if self._target.domain:
            options.insert(0, f"domain={self._target.domain}")
        try:
            done = run(
                [*_COMMAND, "mount", self._target.url, str(self.path), "-o", ",".join(options)],
                environment={"PASSWD": self._target.password},
                check=False,
            )
            if done.status:
                raise BenchError(done.reason.removeprefix("netfsfuse: "))
            self.mount_seconds = done.seconds
            self.pid = int(self.counters()["daemon"]["pid"])
        except BaseException:
            mounts.remove(self.path)
            raise
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        value: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        try:
            if kind is None or issubclass(kind, Exception):
                run([*_COMMAND, "umount", str(self.path)], check=kind is None)
        finally:
            if mounts.is_mounted(self.path) or mounts.daemons(self.path):
                mounts.remove(self.path)

    @property
    def meter(self) -> Meter:
        """CPU and memory of the daemon."""
        return Meter(self.pid)

    def counters(self) -> dict[str, Any]:
        """What ``netfsfuse stats --json`` shows. Raises :class:`BenchError` if it hangs."""
        ask = [sys.executable, "-I", "-S", "-c", _ASK, str(self.path), STATS_XATTR]
        counters: dict[str, Any] = json.loads(run(ask, seconds=15.0).output)
        return counters

    def settle(self, wanted: int) -> int:
        """Wait until ``wanted`` bytes are stored, or storing has stopped; how many are."""
        deadline = time.monotonic() + _SETTLE_SECONDS
        stored, unchanged = -1, 0
        while stored < wanted and unchanged < 10 and time.monotonic() < deadline:
            before, stored = stored, int(self.counters()["cache"]["bytes_stored"])
            unchanged = unchanged + 1 if stored == before else 0
            time.sleep(_SETTLE_POLL)
        return stored

    def forget_cache(self) -> None:
        """Remove what is stored; only while not mounted."""
        shutil.rmtree(self.cachedir, ignore_errors=True)

    @staticmethod
    def backing_file(cachedir: Path) -> Path:
        """The file that holds the data of the one big file in a cache."""
        files = [path for path in cachedir.rglob("*") if path.is_file()]
        if not files:
            raise BenchError("the cache directory holds no file")
        return max(files, key=lambda path: path.stat().st_blocks)


_COMMAND = (sys.executable, "-m", "netfsfuse")
