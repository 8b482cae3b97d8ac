"""A process of ours that makes a link, held for as long as the link is wanted."""

from __future__ import annotations

import contextlib
import os
import subprocess
import sys
from pathlib import Path

_STOP_SECONDS = 5.0
"""Measured 20 ms; then SIGKILL."""


class LinkProcess:
    """Runs a module that prints one line when it is ready, and leaves when its input ends.

    The kernel ends that input also when this process is killed, so the module's process never
    outlives it. (PR_SET_PDEATHSIG would act when the thread that started it ends.) It has a process
    group of its own: a Ctrl-C in the terminal must not take the link away under a mount that is
    being cleaned up. The maker calls :meth:`stop`. Blocking for some 0.1 s.
    """

    def __init__(self, module: str, *arguments: str) -> None:
        """Start it and wait until it is ready. Raises OSError, leaving nothing, on failure; what
        it said about it is on standard error.
        """
        self._last_cpu_seconds = 0.0
        self._process = subprocess.Popen(
            [sys.executable, "-m", module, *arguments],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            process_group=0,
        )
        try:
            assert self._process.stdout is not None
            self.ready_line = self._process.stdout.readline().decode().strip()
            if not self.ready_line:
                raise OSError(f"{module} {' '.join(arguments)} did not start")
        except BaseException:
            self.stop()
            raise

    @property
    def pid(self) -> int:
        """The process, also after its end."""
        return self._process.pid

    def cpu_seconds(self) -> float:
        """CPU time that it used since its start; after :meth:`stop`, in all."""
        if self._process.returncode is None:
            with contextlib.suppress(OSError, IndexError):
                stat = Path(f"/proc/{self.pid}/stat").read_text().rpartition(")")[2].split()
                ticks = int(stat[11]) + int(stat[12])
                self._last_cpu_seconds = ticks / os.sysconf("SC_CLK_TCK")
        return self._last_cpu_seconds

    def stop(self) -> None:
        """End it and wait until it is gone. Idempotent."""
        self.cpu_seconds()
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        try:
            self._process.stdin.close()
            self._process.wait(_STOP_SECONDS)
        except subprocess.TimeoutExpired:
            pass
        finally:  # after a Ctrl-C here as well
            self._process.kill()
            self._process.wait()
            self._process.stdout.close()
