"""What programs do to names, times and listings; how another mount sees it; what is forgotten."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from pathlib import Path

from tests.support.exercise import Operation
from tests.support.exercise_model import Differs, check
from tests.support.exercise_scene import Scene

PEER_SECONDS = 1.0
"""Within which another mount sees what was done on this one."""
CLOCKS = 100_000_000
"""ns by which a time may go back after all: a stat that meets the close of a file shows what the
server's clock was taken to be, and the next one what it was."""
_FIRST_UTIME = 978_307_200_000_000_000  # 2001-01-01 in ns: before whatever a clock says


class NameActs(Scene):
    """One method for each kind of operation."""

    def _stat(self, operation: Operation) -> None:
        """By name, or by a handle; sizes are exact, times go forward only."""
        opened = self._opens.get(operation.slot)
        if opened is not None and operation.flags & 1:
            name, seen = opened.name, os.fstat(opened.fd)
        elif operation.name in self._files:
            name, seen = operation.name, os.stat(self._here / operation.name)
        else:
            check(f"{operation.name} exists", os.path.lexists(self._here / operation.name), False)
            return
        file = self._files[name]
        check(f"size of {name}", seen.st_size, len(file.content))
        if file.mtime_is_set:
            check(f"mtime of {name}", seen.st_mtime_ns // 100, file.mtime // 100)
        elif seen.st_mtime_ns < file.mtime - CLOCKS:
            raise Differs(f"mtime of {name} went back from {file.mtime} to {seen.st_mtime_ns}")
        else:
            file.mtime = seen.st_mtime_ns

    def _utime(self, operation: Operation) -> None:
        """By name, also while handles are open and bytes on their way."""
        file = self._files.get(operation.name)
        if file is None:
            return
        if any(mapped == operation.name for _, mapped in self._maps.values()):
            return  # the kernel writes stores when it likes, which modifies the file
        file.mtime = _FIRST_UTIME + operation.stamp * 1_000_000_700
        os.utime(self._here / operation.name, ns=(file.mtime, file.mtime))
        file.mtime_is_set = True

    def _rename(self, operation: Operation) -> None:
        """Over what is there, too."""
        name, to = operation.name, operation.to
        if name != to:
            self._free(name)
            self._free(to)
            try:
                os.rename(self._here / name, self._here / to)
            except FileNotFoundError:
                check(f"{name} exists", False, name in self._files)
                return
            check(f"{name} exists", True, name in self._files)
            self._files[to] = self._files.pop(name)

    def _unlink(self, operation: Operation) -> None:
        self._free(operation.name)
        try:
            os.unlink(self._here / operation.name)
        except FileNotFoundError:
            check(f"{operation.name} exists", False, operation.name in self._files)
            return
        check(f"{operation.name} exists", True, operation.name in self._files)
        del self._files[operation.name]

    def _list(self, operation: Operation) -> None:
        check("names", set(os.listdir(self._here)), set(self._files))

    # Other eyes, and forgetting

    def _whole(self, operation: Operation) -> None:
        """All of a file by a handle of its own, past the kernel's pages at times."""
        if operation.name in self._files:
            direct = os.O_DIRECT if operation.flags & os.O_EXCL else 0
            self._check_whole(self._here / operation.name, operation.name, direct)

    def _peer(self, operation: Operation) -> None:
        """Another mount reads all; what programs have in mappings is theirs until it is synced."""
        name = operation.name
        if self._peer_folder is None or any(mapped == name for _, mapped in self._maps.values()):
            return
        end = time.monotonic() + PEER_SECONDS
        while True:
            try:
                if name in self._files:
                    self._check_whole(self._peer_folder / name, name)
                else:
                    seen = os.path.lexists(self._peer_folder / name)
                    check(f"{name} exists for the other mount", seen, False)
            except (Differs, FileNotFoundError):
                if time.monotonic() > end:
                    raise
                time.sleep(0.01)
            else:
                return

    def _forget(self, operation: Operation) -> None:
        """The kernel gives clean pages of a file away."""
        if opened := self._opens.get(operation.slot):
            os.posix_fadvise(opened.fd, 0, 0, os.POSIX_FADV_DONTNEED)

    def _drop_object(self, operation: Operation) -> None:
        """The disk cache loses all objects that are not in use."""
        if self._cachedir is not None:
            words = [sys.executable, "-m", "cachefiles", f"--cachedir={self._cachedir}"]
            done = subprocess.run([*words, "drop", "--all"], capture_output=True, check=False)
            if done.returncode not in (0, 1):
                raise Differs(f"cachefiles drop: {done.stderr.decode()}")

    def _drop_pages(self, operation: Operation) -> None:
        if self._drops_pages:
            Path("/proc/sys/vm/drop_caches").write_text("3")
