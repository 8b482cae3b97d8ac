"""The processes of one smbd, and where Samba's programs are.

smbd forks a process for each connection. It runs in a process group of its own: a Ctrl-C in the
terminal must not take the server away under a mount that is being cleaned up, and one signal to
the group reaches all of them. smbd in the foreground also leaves when its standard input, a pipe
that we hold, ends, and its children follow: even ``kill -9`` of our process leaves no server.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import socket
import subprocess
import time
from pathlib import Path

_START_SECONDS = 20.0  # measured 0.1 s idle; a loaded machine may take long
_STOP_SECONDS = 5.0  # measured 10 ms; then SIGKILL


class SambaError(Exception):
    """smbd is missing, or did not start. The message says what to do or what its log said."""


def find_program(name: str) -> str:
    """Full path of one of Samba's programs; Debian keeps smbd outside an ordinary user's PATH.

    Raises :class:`SambaError` with the package to install when it is missing.
    """
    path = os.pathsep.join([os.environ.get("PATH", os.defpath), "/usr/sbin", "/usr/bin"])
    found = shutil.which(name, path=path)
    if found is None:
        raise SambaError(f"{name} not found: apt install samba")
    return found


def scratch_directory() -> Path:
    """Where large temporary data goes: ``$TMPDIR``, else /var/tmp, which is rarely a RAM disk."""
    return Path(os.environ.get("TMPDIR") or "/var/tmp")


class Server:
    """A running smbd. The maker calls :meth:`end`."""

    def __init__(self, configuration: Path, folder: Path) -> None:
        """Start smbd with this configuration; its standard output goes to ``folder``."""
        smbd = find_program("smbd")
        stdin, self._stdin = os.pipe()
        try:
            with (folder / "log.stdout").open("ab") as out:
                self._process = subprocess.Popen(
                    [smbd, "-F", "--no-process-group", "-s", configuration, "-l", folder],
                    stdin=stdin,
                    stdout=out,
                    stderr=subprocess.STDOUT,
                    process_group=0,
                )
        except BaseException:
            os.close(self._stdin)
            raise
        finally:
            os.close(stdin)

    @property
    def running(self) -> bool:
        """Whether the main process lives."""
        return self._process.poll() is None

    def wait_listening(self, host: str, port: int) -> None:
        """Return once a connect succeeds. Raises TimeoutError if smbd ends first or takes long."""
        deadline = time.monotonic() + _START_SECONDS
        while True:
            with contextlib.suppress(ConnectionRefusedError, TimeoutError):
                socket.create_connection((host, port), timeout=1).close()
                return
            if not self.running:
                raise TimeoutError("smbd ended at once")
            if time.monotonic() > deadline:
                raise TimeoutError("smbd does not answer")
            time.sleep(0.02)

    def tell(self, which: signal.Signals) -> None:
        """To all processes of the server."""
        _signal_group(self._process.pid, which)

    def end(self, how: signal.Signals = signal.SIGTERM) -> None:
        """Signal every process of the server and wait until all are gone (SIGKILL after 5 s)."""
        group = self._process.pid  # taken while any member lives: it cannot be another program's
        deadline = time.monotonic() + _STOP_SECONDS
        _signal_group(group, how)
        os.close(self._stdin)
        while _group_lives(group):
            if time.monotonic() > deadline:
                _signal_group(group, signal.SIGKILL)
            time.sleep(0.01)
        self._process.wait()


def _signal_group(group: int, which: int) -> None:
    with contextlib.suppress(ProcessLookupError):
        os.killpg(group, which)


def _group_lives(group: int) -> bool:
    """Whether a process of the group still runs.

    Not ``killpg(group, 0)``: that also counts children of smbd that died after it and wait for the
    machine's init to reap them, which takes some inits seconds.
    """
    for entry in Path("/proc").glob("[0-9]*/stat"):
        with contextlib.suppress(OSError):
            state, _parent, its_group = entry.read_text().rpartition(")")[2].split()[:3]
            if int(its_group) == group and state not in "ZX":
                return True
    return False
