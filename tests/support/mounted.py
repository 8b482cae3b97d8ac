"""A mount made by the real command, as tests see it."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from netfsfuse.lab import mounts
from netfsfuse.lab.server.samba import PrivateSamba

COMMAND = (sys.executable, "-m", "netfsfuse")
SOURCE_TREE = str(Path(__file__).resolve().parents[2])
_COMMAND_SECONDS = 40.0  # the product promises an answer within 15 s


def netfsfuse(
    *words: str, env: dict[str, str] | None = None, timeout: float = _COMMAND_SECONDS
) -> subprocess.CompletedProcess[str]:
    """Run the command to its end, whatever its exit status; ``env`` is added to ours.

    Output goes through files: a daemon left behind must not keep a pipe of ours open.
    """
    with tempfile.TemporaryFile("w+") as out, tempfile.TemporaryFile("w+") as err:
        code = subprocess.run(
            [*COMMAND, *words],
            stdin=subprocess.DEVNULL,
            stdout=out,
            stderr=err,
            env={**os.environ, "PYTHONPATH": SOURCE_TREE, **(env or {})},
            timeout=timeout,
            check=False,
        ).returncode
        out.seek(0)
        err.seek(0)
        return subprocess.CompletedProcess(words, code, out.read(), err.read())


class Mounted:
    """One mount point with its cache directory and log, all in ``folder``.

    ``options`` are mount options beside user, cachedir and log. ``source`` defaults to the server's
    main share; name it to go through a proxy or to a subdirectory. :meth:`remove` undoes all.
    """

    def __init__(
        self,
        folder: Path,
        samba: PrivateSamba,
        options: Sequence[str] = (),
        *,
        source: str | None = None,
        cachedir: Path | None = None,
    ) -> None:
        self.samba = samba
        self.source = source or samba.url
        self.options = list(options)
        self.folder = folder
        self.path = folder / "mnt"
        self.cachedir = cachedir or folder / "cache"
        self.log = folder / "log"
        self.path.mkdir(parents=True)
        self.cachedir.mkdir(exist_ok=True, mode=0o700)

    def try_mount(self) -> subprocess.CompletedProcess[str]:
        """Run ``netfsfuse mount`` and hand back how it ended."""
        options = [
            f"user={self.samba.username}",
            f"cachedir={self.cachedir}",
            f"log={self.log}",
            *self.options,
        ]
        return netfsfuse(
            "mount",
            self.source,
            str(self.path),
            "-o",
            ",".join(options),
            env={"PASSWD": self.samba.password},
        )

    def mount(self) -> None:
        """Mount; AssertionError with everything that was said if that fails."""
        result = self.try_mount()
        assert result.returncode == 0, f"mount failed: {result.stderr}\n{self.log_text()}"
        assert mounts.is_mounted(self.path)

    def umount(self) -> None:
        """``netfsfuse umount``; neither mount nor daemon is left afterwards."""
        result = netfsfuse("umount", str(self.path))
        assert result.returncode == 0, f"umount failed: {result.stderr}\n{self.log_text()}"
        assert mounts.wait_gone(self.path, 0.5), "umount returned before the daemon was gone"

    def remount(self) -> None:
        """Unmount and mount again, with the same cache; the kernel's pages are gone."""
        self.umount()
        self.mount()

    def stats(self) -> dict[str, Any]:
        """The counters, as ``netfsfuse stats --json`` shows them."""
        result = netfsfuse("stats", str(self.path), "--json")
        assert result.returncode == 0, f"stats failed: {result.stderr}\n{self.log_text()}"
        counters: dict[str, Any] = json.loads(result.stdout)
        return counters

    def messages(self) -> dict[str, int]:
        """Requests sent to the server so far, by command; but ECHO, which a clock sends."""
        sent: dict[str, int] = self.stats()["server"]["messages"]
        sent.pop("echo", None)
        return sent

    @property
    def pid(self) -> int:
        """The daemon."""
        pids = mounts.daemons(self.path)
        assert len(pids) == 1, f"daemons: {[(pid, mounts.command_line(pid)) for pid in pids]}"
        return pids[0]

    def kill9(self) -> None:
        """``kill -9`` the daemon; the dead mount stays, and the next :meth:`mount` replaces it."""
        os.kill(self.pid, signal.SIGKILL)
        while mounts.daemons(self.path):
            os.sched_yield()

    def log_text(self) -> str:
        """What the daemon logged so far."""
        return self.log.read_text(errors="replace") if self.log.exists() else ""

    def remove(self) -> None:
        """Unmount in the friendly way, else by force; remove the folder."""
        try:
            if mounts.is_mounted(self.path):
                netfsfuse("umount", str(self.path), timeout=20.0)
        except subprocess.TimeoutExpired:
            pass
        finally:
            mounts.remove(self.path)
            shutil.rmtree(self.folder, ignore_errors=True)
