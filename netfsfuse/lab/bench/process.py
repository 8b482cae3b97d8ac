"""Running programs and measuring what they cost.

Each program is a process group of its own: a Ctrl-C in the terminal reaches only the bench, which
then ends what it started, in order.
"""

from __future__ import annotations

import contextlib
import os
import select
import signal
import subprocess
import tempfile
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import IO

from netfsfuse.lab.bench.errors import BenchError

HANGS_AFTER = 60.0
"""Seconds after which a program is taken for hung. No measured run is meant to take over 10."""

_TICK = os.sysconf("SC_CLK_TCK")


@dataclass(frozen=True, slots=True)
class Finished:
    """How a program ended. ``cpu`` in s with its children, ``peak_rss`` in bytes."""

    seconds: float
    status: int
    cpu: float
    peak_rss: int
    output: str
    errors: str

    @property
    def reason(self) -> str:
        """The last line that a failed program said."""
        lines = (self.errors or self.output).strip().splitlines()
        return lines[-1] if lines else f"exit status {self.status}"


class Program:
    """A started program. The starter calls :meth:`wait` or :meth:`kill`."""

    def __init__(
        self,
        argv: Sequence[str],
        *,
        environment: Mapping[str, str] | None = None,
        cwd: Path | None = None,
        text: str = "",
        grace: float = 0.0,
    ) -> None:
        """Start it; ``environment`` is added to ours, ``text`` is its standard input.

        :meth:`kill` first asks it by SIGTERM to end, and gives it ``grace`` seconds for that.
        """
        self.name = Path(argv[0]).name
        self._grace = grace
        self._out: IO[str] = tempfile.TemporaryFile("w+", errors="replace")  # noqa: SIM115
        self._errors: IO[str] = tempfile.TemporaryFile("w+", errors="replace")  # noqa: SIM115
        with tempfile.TemporaryFile("w+") as given:
            given.write(text)
            given.seek(0)
            self.started = time.monotonic()
            try:
                self._process = subprocess.Popen(
                    list(argv),
                    stdin=given,
                    stdout=self._out,
                    stderr=self._errors,
                    cwd=cwd,
                    env={**os.environ, **(environment or {})},
                    process_group=0,
                )
            except OSError as error:
                self._close()
                raise BenchError(f"{self.name} cannot be started: {error.strerror}") from None

    @property
    def pid(self) -> int:
        """Its process."""
        return self._process.pid

    @property
    def running(self) -> bool:
        """Whether it has not ended yet; leaves it to be reaped by :meth:`wait`."""
        if self._process.returncode is not None:
            return False
        flags = os.WEXITED | os.WNOHANG | os.WNOWAIT
        return os.waitid(os.P_PID, self.pid, flags) is None

    def wait(self, seconds: float = HANGS_AFTER) -> Finished:
        """Wait for its end. One that takes longer, or is interrupted by a signal to us, is killed.

        Raises :class:`BenchError` when it takes longer.
        """
        try:
            if not self._ends_within(seconds):
                raise BenchError(f"{self.name} did not end within {seconds:.0f} s")
            took = time.monotonic() - self.started
            _, status, usage = os.wait4(self.pid, 0)
            self._process.returncode = os.waitstatus_to_exitcode(status)
            self._out.seek(0)
            self._errors.seek(0)
            return Finished(
                took,
                self._process.returncode,
                usage.ru_utime + usage.ru_stime,
                usage.ru_maxrss * 1024,
                self._out.read(),
                self._errors.read(),
            )
        finally:
            self.kill()

    def signal(self, which: signal.Signals) -> None:
        """Send it a signal, if it still runs."""
        if self._process.returncode is None:
            with contextlib.suppress(ProcessLookupError):
                os.kill(self.pid, which)

    def kill(self) -> None:
        """End its whole group. Idempotent; nothing happens to one that has ended."""
        if self._process.returncode is None:
            if self._grace:
                self.signal(signal.SIGTERM)
                self._ends_within(self._grace)
            # Not reaped yet: until then no other group can have this number.
            with contextlib.suppress(ProcessLookupError):
                os.killpg(self.pid, signal.SIGKILL)
            self._process.wait()
        self._close()

    def _ends_within(self, seconds: float) -> bool:
        """Wait until it has ended, and leave it to be reaped; whether it did in time."""
        watched = os.pidfd_open(self.pid)
        try:
            return bool(select.select([watched], [], [], seconds)[0])
        finally:
            os.close(watched)

    def _close(self) -> None:
        self._out.close()
        self._errors.close()


def run(
    argv: Sequence[str],
    *,
    environment: Mapping[str, str] | None = None,
    cwd: Path | None = None,
    text: str = "",
    seconds: float = HANGS_AFTER,
    check: bool = True,
) -> Finished:
    """Run a program to its end. Raises :class:`BenchError` if it fails or hangs."""
    done = Program(argv, environment=environment, cwd=cwd, text=text).wait(seconds)
    if check and done.status:
        raise BenchError(f"{Path(argv[0]).name}: {done.reason}")
    return done


class Meter:
    """CPU time and memory of a running process, from /proc."""

    def __init__(self, pid: int) -> None:
        self._proc = Path(f"/proc/{pid}")

    def cpu_seconds(self) -> float:
        """User and system time so far, with children that have ended."""
        fields = self._read("stat").rpartition(")")[2].split()
        return sum(map(int, fields[11:15])) / _TICK

    def reset_peak(self) -> None:
        """Let the peak begin at what is resident now."""
        with contextlib.suppress(OSError):  # hidepid, or another user's process
            (self._proc / "clear_refs").write_text("5")

    def peak_rss(self) -> int | None:
        """Bytes resident at most since :meth:`reset_peak`."""
        for line in self._read("status").splitlines():
            if line.startswith("VmHWM:"):
                return int(line.split()[1]) * 1024
        return None

    def _read(self, name: str) -> str:
        try:
            return (self._proc / name).read_text()
        except OSError as error:
            raise BenchError("the client has ended in the middle of a measurement") from error
