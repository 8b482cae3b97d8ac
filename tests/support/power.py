"""A disk whose power can be cut: an image served by ``power_image.py``, a loop device, a mount."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

from netfsfuse.mountinfo import read_mounts
from tests.support.loopfs import attached, make


class PowerDisk:
    """A filesystem of ``kind`` at ``mountpoint``. Made by :func:`power_disk`, which ends it."""

    def __init__(self, kind: str, size: int, folder: Path) -> None:
        self.kind = kind
        self.mountpoint = folder / "disk"
        self._image = folder / "power-image"
        self._served = folder / "served"
        self._server: subprocess.Popen[str] | None = None
        self._stack = ExitStack()
        for path in (self.mountpoint, self._served):
            path.mkdir()
        with self._image.open("wb") as file:
            file.truncate(size)
        make(kind, self._image)

    def start(self) -> None:
        """Power on: what was synced is there again, the journal replayed."""
        self._server = subprocess.Popen(
            [sys.executable, "-m", "tests.support.power_image", self._image, self._served],
            stdout=subprocess.PIPE,
            text=True,
        )
        assert self._server.stdout is not None
        assert self._server.stdout.readline() == "ready\n"
        device = self._stack.enter_context(attached(self._served / "image"))
        subprocess.run(["mount", "-t", self.kind, device, self.mountpoint], check=True)
        self.mountpoint.chmod(0o700)

    def lose_power(self) -> None:
        """What was not synced is gone. Nobody may use the filesystem any more."""
        assert self._server is not None
        assert self._server.stdout is not None
        os.kill(self._server.pid, signal.SIGUSR1)
        assert self._server.stdout.readline() == "off\n"
        self.stop()

    def stop(self, *, failed: bool = False) -> None:
        """Unmount and end the server, whatever state they are in; ``failed``: even where somebody
        still uses the disk, since a failed test has left a mount on it."""
        if self._server is None:
            return
        _umount(self.mountpoint, lazily=failed)
        self._stack.close()
        _umount(self._served)
        assert self._server.stdout is not None
        self._server.stdout.close()
        self._server.wait(20)
        self._server = None


def _umount(path: Path, *, lazily: bool = False) -> None:
    """Unmount ``path`` if it is a mount. A killed process may still be on its way out of the
    kernel, from a sync that the dead disk lets fail. XFS that has shut down answers no stat."""
    end = time.monotonic() + 20
    while any(mount.path == str(path) for mount in read_mounts()):
        done = subprocess.run(["umount", path], check=False, capture_output=True, text=True)
        if done.returncode == 0:
            return
        assert "busy" in done.stderr, done.stderr
        if lazily:
            subprocess.run(["umount", "--lazy", path], check=True)
            return
        assert time.monotonic() < end, done.stderr
        time.sleep(0.05)


@contextmanager
def power_disk(kind: str, size: int) -> Iterator[PowerDisk]:
    """A disk of ``size`` bytes, powered on; nothing is left of it."""
    with tempfile.TemporaryDirectory(dir="/var/tmp") as folder:
        disk = PowerDisk(kind, size, Path(folder))
        try:
            disk.start()
            yield disk
        except BaseException:
            disk.stop(failed=True)
            raise
        disk.stop()
