"""``rclone mount`` with ``--vfs-cache-mode full``, configured by environment variables alone.

It stays in the foreground, as a child of ours: its process is known, and ended for certain.
"""

from __future__ import annotations

import os
import shutil
import signal
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import Self

from netfsfuse.lab.bench.errors import BenchError
from netfsfuse.lab.bench.process import Meter, Program, run
from netfsfuse.lab.bench.target import Target
from netfsfuse.mountinfo import read_mounts

_RCLONE = ("rclone", "--config=")
"""Without a config file: the user's own is neither read nor made."""
_MOUNT_SECONDS = 30.0  # measured 0.1 s, and some round trips
_END_SECONDS = 10.0
_POLL_SECONDS = 0.01


class RcloneMount:
    """A context manager like :class:`~netfsfuse.lab.bench.contenders.ours.OurMount`.

    ``environment`` is :func:`rclone_environment`, the same one for all mounts of one cache: rclone
    hashes it into the cache's path, and the obscured password differs each time it is made.
    """

    def __init__(
        self,
        target: Target,
        folder: Path,
        cachedir: Path,
        environment: Mapping[str, str],
        options: Sequence[str] = (),
    ) -> None:
        self.path = folder / "rclone"
        self.cachedir = cachedir
        self._share = target.share
        self._environment = environment
        self._options = options
        self._program: Program | None = None
        self.mount_seconds = 0.0

    def __enter__(self) -> Self:
        self.path.mkdir(exist_ok=True)
        self.cachedir.mkdir(exist_ok=True, mode=0o700)
        argv = [*_RCLONE, "mount", f"S:{self._share}", str(self.path)]
        argv += ["--vfs-cache-mode", "full", "--cache-dir", str(self.cachedir), *self._options]
        begin = time.monotonic()
        self._program = Program(argv, environment=self._environment)
        try:
            while not _is_mounted(self.path):
                if not self._program.running:
                    raise BenchError(self._program.wait().reason)
                if time.monotonic() > begin + _MOUNT_SECONDS:
                    raise BenchError("rclone did not mount")
                time.sleep(_POLL_SECONDS)
        except BaseException:
            self._end()
            raise
        self.mount_seconds = time.monotonic() - begin
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        value: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._end()

    @property
    def meter(self) -> Meter:
        """CPU and memory of rclone."""
        assert self._program is not None
        return Meter(self._program.pid)

    def forget_cache(self) -> None:
        """Remove what is stored; only while not mounted."""
        shutil.rmtree(self.cachedir, ignore_errors=True)

    def _end(self) -> None:
        program, self._program = self._program, None
        if program is None:
            return
        try:
            program.signal(signal.SIGINT)  # it unmounts itself
            program.wait(_END_SECONDS)
        except BenchError:
            pass  # killed by wait()
        finally:
            program.kill()
            if _is_mounted(self.path):
                _detach(self.path)


def rclone_environment(target: Target) -> dict[str, str]:
    """A remote named S that is the target's server. The password goes through a pipe only."""
    obscured = run([*_RCLONE, "obscure", "-"], text=target.password).output.strip()
    settings = {
        "TYPE": "smb",
        "HOST": target.host,
        "PORT": str(target.port),
        "USER": target.username or "guest",
        "PASS": obscured if target.password else "",
        "DOMAIN": target.domain,
    }
    return {f"RCLONE_CONFIG_S_{name}": value for name, value in settings.items() if value}


def _is_mounted(path: Path) -> bool:
    # Not os.path.ismount: it asks the filesystem, which may hang.
    return any(mount.path == str(path) for mount in read_mounts())


def _detach(path: Path) -> None:
    words = ["umount", "-l"] if os.geteuid() == 0 else ["fusermount3", "-u", "-z"]
    run([*words, str(path)], check=False)
