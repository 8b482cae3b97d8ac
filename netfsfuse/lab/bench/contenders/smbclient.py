"""``smbclient``: logs in, fetches or stores one file, leaves. Its login counts, as for its user."""

from __future__ import annotations

import os
from pathlib import Path

from netfsfuse.lab.bench.errors import BenchError
from netfsfuse.lab.bench.target import Target


class Smbclient:
    """Command lines of smbclient for one target; the login is in a file (0600) in ``folder``."""

    def __init__(self, target: Target, folder: Path) -> None:
        self._target = target
        self._login = folder / "smbclient-login"
        lines = [f"username={target.username or 'guest'}", f"password={target.password}"]
        if target.domain:
            lines.append(f"domain={target.domain}")
        fd = os.open(self._login, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
        with open(fd, "w") as file:
            file.write("\n".join(lines) + "\n")

    def get(self, name: str, into: Path) -> list[str]:
        """The command that fetches ``name`` ("/" between folders). Raises :class:`BenchError`."""
        return self._command("-c", f'get "{_remote(name)}" "{_quotable(into)}"')

    def put(self, source: Path, name: str) -> list[str]:
        """The command that stores a file as ``name``. Raises :class:`BenchError`."""
        return self._command("-c", f'put "{_quotable(source)}" "{_remote(name)}"')

    def unpack(self, archive: Path, folder: str) -> list[str]:
        """The command that unpacks an archive of tar's into a folder of the share."""
        return self._command("--directory", folder, "-Tx", str(archive))

    def _command(self, *words: str) -> list[str]:
        # The machine's own smb.conf is left out: both sides of a comparison use defaults.
        return [
            "smbclient",
            "--configfile=/dev/null",
            f"--authentication-file={self._login}",
            f"--port={self._target.port}",
            f"//{self._target.host}/{self._target.share}",
            *words,
        ]


def _remote(name: str) -> str:
    return _quotable(name).replace("/", "\\")


def _quotable(name: str | Path) -> str:
    if '"' in str(name):
        raise BenchError("smbclient cannot move a file with a quote in its name")
    return str(name)
