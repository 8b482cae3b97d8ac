"""Starting the process that stays, and waiting until its mount answers.

The daemon is a fresh interpreter rather than a fork: its arguments are ours to choose, so that they
hold the words ``netfsfuse`` and the mount point and no secret, and nothing of the command's state
comes along. It runs in a session of its own; until it is ready its stderr is kept, so that what
fusermount3 or a crash said can be told in one line.

Ownership: until ``ok`` arrives the daemon is the command's to end, on a failure, a time-out,
Ctrl-C or SIGTERM; afterwards it is on its own. A daemon whose command died finds the pipe broken
and gives up.
"""

from __future__ import annotations

import contextlib
import os
import select
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping, Set
from types import FrameType

from netfsfuse.cli.credentials import SECRET_VARIABLES
from netfsfuse.cli.detach import detach
from netfsfuse.cli.handover import READY_FD, SECRET_FD, store_secrets
from netfsfuse.cli.programs import search_path
from netfsfuse.config import Credentials
from netfsfuse.errors import LoginRefused, MountError
from netfsfuse.mountinfo import mount_at, read_mounts

READY_TIMEOUT = 60.0  # seconds; login and tree connect have 10 of their own, see ServerConfig
END_TIMEOUT = 10.0  # seconds for a daemon to take its mount away after SIGTERM, then SIGKILL
LOGIN_REFUSED = 77  # exit status: not worth another try with the same credentials
_TOLD_PREFIXES = ("fusermount3:", "fusermount:", "fuse:", "mount:")


def daemon_arguments(source: str, mountpoint: str, public: list[str]) -> list[str]:
    """The command line of the process that stays. ``public`` holds no secret.

    -P keeps the current directory off the module path: a mount made inside a share must not
    run code from it.
    """
    command = [sys.executable, "-P", "-m", "netfsfuse", "mount", source, mountpoint]
    return [*command, *(["-o", ",".join(public)] if public else []), "-f"]


def daemon_environment(environ: Mapping[str, str]) -> dict[str, str]:
    """The environment for it: without passwords, with a usable PATH."""
    kept = {name: value for name, value in environ.items() if name not in SECRET_VARIABLES}
    if "%" in kept.get("USER", ""):
        del kept["USER"]
    kept["PATH"] = search_path(kept.get("PATH"))
    return kept


def replace_process(arguments: list[str], credentials: Credentials, notices: list[str]) -> None:
    """Become the same command without secrets in arguments and environment. Does not return."""
    fd = store_secrets(credentials, notices)
    os.set_inheritable(fd, True)
    environment = {**daemon_environment(os.environ), SECRET_FD: str(fd)}
    os.execve(arguments[0], arguments, environment)


class Daemon:
    """A started daemon that has not said yet how it went."""

    def __init__(self, arguments: list[str], credentials: Credentials) -> None:
        """Start it. Raises :class:`MountError` when no process can be made."""
        self._output = os.memfd_create("netfsfuse-output", os.MFD_CLOEXEC)
        self._ready, ready_write = os.pipe()
        secret = store_secrets(credentials, [])
        environment = daemon_environment(os.environ)
        environment |= {READY_FD: str(ready_write), SECRET_FD: str(secret)}
        try:
            self._process = subprocess.Popen(
                arguments,
                stdin=subprocess.DEVNULL,
                stdout=self._output,
                stderr=self._output,
                start_new_session=True,
                pass_fds=(ready_write, secret),
                env=environment,
            )
        except OSError as error:
            self.close()
            raise MountError(f"cannot start the mount process: {error.strerror}") from None
        finally:
            os.close(ready_write)
            os.close(secret)

    def close(self) -> None:
        """Let go of the descriptors; the process goes on."""
        os.close(self._ready)
        os.close(self._output)

    def wait_ready(self, timeout: float = READY_TIMEOUT) -> list[str]:
        """The notices of the mount, once it answers.

        Raises :class:`MountError` with the daemon's reason, or when ``timeout`` seconds have
        passed; the daemon has ended by then. On any other exception, too, it is ended.
        """
        try:
            verdict, _, text = self._read_report(timeout).partition("\n")
        except BaseException:
            self.end()
            raise
        if verdict == "ok":
            # We do not wait for it from now on, and Python is not to warn about that.
            self._process.returncode = 0
            return [line for line in text.split("\n") if line]
        status = self.end()
        if verdict == "error":
            kind = LoginRefused if status == LOGIN_REFUSED else MountError
            raise kind(self._add_told(text))
        raise MountError(
            self._add_told(f"the mount process ended with status {status}")
            + "; see the log, or try again with -f"
        )

    def end(self) -> int:
        """Make sure that the daemon is gone; its exit status."""
        with contextlib.suppress(subprocess.TimeoutExpired):
            return self._process.wait(0.5)
        self._process.terminate()
        with contextlib.suppress(subprocess.TimeoutExpired):
            return self._process.wait(END_TIMEOUT)
        self._process.kill()
        return self._process.wait()

    def _read_report(self, timeout: float) -> str:
        deadline = time.monotonic() + timeout
        poll = select.poll()
        poll.register(self._ready, select.POLLIN)
        content = b""
        while True:
            remaining = deadline - time.monotonic()
            if remaining <= 0 or not poll.poll(remaining * 1000):
                raise MountError(f"the mount did not answer within {timeout:g} seconds")
            piece = os.read(self._ready, 65536)
            if not piece:
                return content.decode(errors="replace")
            content += piece

    def _add_told(self, line: str) -> str:
        """``line``, and what fusermount3 or libfuse had to say."""
        text = os.pread(self._output, 65536, 0).decode(errors="replace")
        told = [part for part in text.split("\n") if part.startswith(_TOLD_PREFIXES)]
        return f"{line} ({told[-1].strip()})" if told and told[-1] not in line else line


def start(arguments: list[str], credentials: Credentials, mountpoint: str) -> list[str]:
    """Start a daemon and wait until its mount answers; its notices.

    Raises :class:`MountError`. However this ends but well, no daemon and no mount of its is left.
    The caller holds the mount point's lock, so no other command of this user mounts meanwhile.
    """
    before = {mount.id for mount in read_mounts()}
    daemon = Daemon(arguments, credentials)
    try:
        with _sigterm_raises():
            return daemon.wait_ready()
    except BaseException:
        _clear(mountpoint, before)
        raise
    finally:
        daemon.close()


def _clear(mountpoint: str, before: Set[int]) -> None:
    """Take away what a daemon killed in the middle of mounting left behind, and nothing that was
    there ``before``, by its id."""
    mount = mount_at(mountpoint, read_mounts())
    if mount is not None and mount.is_ours and mount.id not in before:
        with contextlib.suppress(MountError):
            detach(mountpoint, lazy=True)


@contextlib.contextmanager
def _sigterm_raises() -> Iterator[None]:
    """SIGTERM acts as Ctrl-C does, so that the daemon is not left half started."""

    def handle(number: int, frame: FrameType | None) -> None:
        raise KeyboardInterrupt

    before = signal.signal(signal.SIGTERM, handle)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)
