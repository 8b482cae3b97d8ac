"""A private smbd on a free loopback port, for the demo and the tests.

Everything it needs (configuration, password database, state, logs, shares) lives in one temporary
folder, so it neither sees nor disturbs a Samba installed on the machine. It works for root and for
an ordinary user; smbd then serves all files as that user.

How it is held:

- **The port.** smbd binds with SO_REUSEPORT, so two servers of one user that picked the same port
  would share it and silently answer each other's clients. We keep a socket of our own bound to
  the port, without listening, for as long as this object lives: no other program is given the port,
  it stays ours over a restart, and a connect succeeds only once our smbd listens.
- **The processes.** None outlives this object, nor the process that made it (``smbd``).

Synchronous, and blocking for some 0.2 s at start: call it outside a trio loop or from a thread.
"""

from __future__ import annotations

import contextlib
import os
import pwd
import secrets
import shutil
import signal
import socket
import subprocess
import tempfile
from collections.abc import Iterator, Mapping
from pathlib import Path
from types import TracebackType
from typing import Self

from netfsfuse.lab.server.smbd import SambaError, Server, find_program, scratch_directory

_LONGEST_BASE = 60
"""Characters: below it smbd makes sockets (``lock/msg.sock/PID``), which end at 107 characters."""

_DIRECTORIES = {
    "private dir": "private",
    "state directory": "state",
    "cache directory": "cache",
    "lock directory": "lock",
    "pid directory": "pid",
    "ncalrpc dir": "ncalrpc",
}


class PrivateSamba:
    """A private smbd with one share named ``share``, and more if asked for.

    ``options`` are added to ``[global]`` and win over ours (``{"server signing": "mandatory"}``);
    ``share_options`` go to every share; ``shares`` maps further share names to their options, and
    each gets a folder of its own unless it names a ``path``. The caller owns the object and must
    :meth:`stop` it; as a context manager it starts and stops itself.
    """

    host = "127.0.0.1"
    share = "share"

    def __init__(
        self,
        options: Mapping[str, str] | None = None,
        *,
        share_options: Mapping[str, str] | None = None,
        shares: Mapping[str, Mapping[str, str]] | None = None,
        base: Path | None = None,
    ) -> None:
        self.options = dict(options or {})
        self.share_options = dict(share_options or {})
        self.shares = {self.share: {}, **{name: dict(o) for name, o in (shares or {}).items()}}
        self.username = pwd.getpwuid(os.getuid()).pw_name
        self.password = secrets.token_urlsafe(12)
        self.port = 0
        self.folder = Path()
        self._base = base
        self._reserved: socket.socket | None = None
        self._server: Server | None = None

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        value: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.stop()

    @property
    def path(self) -> Path:
        """The share's folder on the server's own disk."""
        return self.path_of(self.share)

    @property
    def url(self) -> str:
        """What ``netfsfuse mount`` takes: ``//HOST:PORT/SHARE``."""
        return f"//{self.host}:{self.port}/{self.share}"

    @property
    def running(self) -> bool:
        """Whether the main smbd process lives."""
        return self._server is not None and self._server.running

    def path_of(self, share: str) -> Path:
        """The folder of one of the shares."""
        own = self.shares[share].get("path")
        return Path(own) if own else self.folder / "shares" / share

    def start(self) -> None:
        """Make the folder, the port and the account, and return once smbd accepts connections.

        Raises :class:`SambaError`, with the end of smbd's log, and leaves nothing behind then.
        """
        try:
            self._reserve_port()
            self._make_folder()
            self.add_user(self.username, self.password)
            self._launch()
        except BaseException:
            self.stop()
            raise

    def stop(self) -> None:
        """End all processes of the server, free the port, remove the folder. Idempotent."""
        try:
            self._end(signal.SIGTERM)
        finally:
            if self._reserved is not None:
                self._reserved.close()
                self._reserved = None
            if self.folder != Path():
                shutil.rmtree(self.folder, ignore_errors=True)
                self.folder = Path()

    def kill(self) -> None:
        """``kill -9`` the whole server; data and port stay for :meth:`restart`."""
        self._end(signal.SIGKILL)

    @contextlib.contextmanager
    def stopped(self) -> Iterator[None]:
        """All processes of the server stand still; connections stay, and none is answered."""
        if self._server is not None:
            self._server.tell(signal.SIGSTOP)
        try:
            yield
        finally:
            if self._server is not None:
                self._server.tell(signal.SIGCONT)

    def restart(self) -> None:
        """Drop every connection and serve the same data on the same port again."""
        self._end(signal.SIGTERM)
        self._write_configuration()  # the caller may have changed ``options``
        self._launch()

    def add_user(self, username: str, password: str) -> None:
        """Let a user log in; the account must exist on the machine (and, to be served, by root)."""
        result = subprocess.run(
            [find_program("pdbedit"), "-s", str(self._configuration), "-a", "-t", "-u", username],
            input=f"{password}\n{password}\n".encode(),
            capture_output=True,
            check=False,
        )
        if result.returncode:
            raise SambaError(f"pdbedit refused user {username}: {result.stderr.decode()[-2000:]}")

    def log_tail(self, lines: int = 30) -> str:
        """The last lines that smbd wrote, to its log and to standard output."""
        out: list[str] = []
        for log in sorted(self.folder.glob("log*")):
            out += log.read_text(errors="replace").splitlines()[-lines:]
        return "\n".join(out)

    @property
    def _configuration(self) -> Path:
        return self.folder / "smb.conf"

    def _reserve_port(self) -> None:
        reserved = socket.socket()
        self._reserved = reserved
        reserved.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
        reserved.bind((self.host, 0))
        self.port = reserved.getsockname()[1]

    def _make_folder(self) -> None:
        base = self._base or scratch_directory()
        if len(str(base)) > _LONGEST_BASE:
            base = Path("/var/tmp")
        self.folder = Path(tempfile.mkdtemp(prefix="netfsfuse-smbd-", dir=base))
        self.folder.chmod(0o711)  # other accounts of the server reach the shares, and only those
        for name in _DIRECTORIES.values():
            (self.folder / name).mkdir(0o700 if name == "private" else 0o755)
        for share in self.shares:
            self.path_of(share).mkdir(0o755, parents=True, exist_ok=True)
        self._write_configuration()

    def _write_configuration(self) -> None:
        settings = {
            "server role": "standalone server",
            "workgroup": "WORKGROUP",
            "interfaces": "127.0.0.1/8",  # not lo: its ::1 is not covered by our reserved port
            "bind interfaces only": "yes",
            "smb ports": str(self.port),
            "disable netbios": "yes",
            "server min protocol": "SMB2",
            "passdb backend": f"smbpasswd:{self.folder}/private/smbpasswd",
            "log file": f"{self.folder}/log.smbd",
            "log level": "1",
            "max log size": "10000",
            "load printers": "no",
            "printing": "bsd",  # no cups client library start-up
            "disable spoolss": "yes",
            **{option: f"{self.folder}/{name}" for option, name in _DIRECTORIES.items()},
            **self.options,
        }
        lines = ["[global]", *(f"    {key} = {value}" for key, value in settings.items())]
        for share, own in self.shares.items():
            shown = {"path": str(self.path_of(share)), "read only": "no"}
            shown |= self.share_options | own
            lines += [f"[{share}]", *(f"    {key} = {value}" for key, value in shown.items())]
        self._configuration.write_text("\n".join(lines) + "\n")

    def _launch(self) -> None:
        self._server = Server(self._configuration, self.folder)
        try:
            self._server.wait_listening(self.host, self.port)
        except TimeoutError as error:
            raise SambaError(f"{error}; its log says:\n{self.log_tail()}") from error

    def _end(self, how: signal.Signals) -> None:
        server, self._server = self._server, None
        if server is not None:
            server.end(how)
