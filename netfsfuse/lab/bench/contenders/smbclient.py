"""``smbclient get``: logs in, fetches one file, leaves. Its login counts, as for its user."""

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
        if '"' in name or '"' in str(into):
            raise BenchError("smbclient cannot fetch a file with a quote in its name")
        remote = name.replace("/", "\\")
        # The machine's own smb.conf is left out: both sides of a comparison use defaults.
        return [
            "smbclient",
            "--configfile=/dev/null",
            f"--authentication-file={self._login}",
            f"--port={self._target.port}",
            f"//{self._target.host}/{self._target.share}",
            "-c",
            f'get "{remote}" "{into}"',
        ]
