"""Readers to be killed: one program reading one file of a mount, in a process of its own.

The test itself does not read through the mount where the mount may be broken: a process stuck in
the kernel can be killed by its parent, the test cannot.
"""

from __future__ import annotations

import os
import subprocess
from pathlib import Path
from types import TracebackType
from typing import Self

from netfsfuse.lab import mounts

_PATIENCE = 35.0  # a handler's deadline is 30 s
_PIECE = 128 * 1024


class Reader:
    """``cat`` or ``dd``, started. As a context manager it does not outlive the block.

    Kinds: ``cat`` and ``dd`` go through the kernel's pages, which are dropped before; ``direct``
    is ``dd iflag=direct``, which cannot be interrupted in the middle of a request; ``open`` reads
    the attributes only.
    """

    KINDS = ("cat", "dd", "direct", "open")

    def __init__(self, path: Path, kind: str, start: int = 0) -> None:
        self.kind = kind
        blocks = start // _PIECE
        dd = ["dd", f"if={path}", "of=/dev/null", "status=none"]
        argv = {
            "cat": ["cat", str(path)],
            "dd": [*dd, f"bs={_PIECE}", f"skip={blocks}"],
            "direct": [*dd, f"bs={_PIECE}", f"skip={blocks}", "iflag=direct"],
            "open": ["stat", "--cached=never", str(path)],
        }[kind]
        self.process = subprocess.Popen(argv, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        value: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.kill()

    def kill(self) -> None:
        """``kill -9``, and see it gone."""
        self.process.kill()
        self.process.wait(_PATIENCE)


def drop_pages(path: Path) -> None:
    """Make the kernel forget the file's pages, so that the next reader asks the mount."""
    fd = os.open(path, os.O_RDONLY)
    try:
        os.posix_fadvise(fd, 0, 0, os.POSIX_FADV_DONTNEED)
    finally:
        os.close(fd)


def same_content(original: Path, mounted: Path) -> bool:
    """Compare byte by byte, buffered and ``O_DIRECT``, nothing from the kernel's pages."""
    drop_pages(mounted)
    buffered = subprocess.run(["cmp", original, mounted], timeout=60, check=False)
    pipe = 'dd if="$2" bs=1M iflag=direct status=none | cmp "$1" -'
    argv = ["sh", "-c", pipe, "-", str(original), str(mounted)]
    direct = subprocess.run(argv, timeout=60, check=False)
    return buffered.returncode == 0 and direct.returncode == 0


class Comparers:
    """Programs that compare files again and again, for as long as the block lasts.

    Leaving the block asserts that each of them still compares: none saw a difference or an error.
    """

    _LOOP = 'while dd if="$2" bs=1M iflag=direct status=none | cmp "$1" -; do :; done'

    def __init__(self, pairs: list[tuple[Path, Path]]) -> None:
        self._pairs = pairs
        self._processes: list[subprocess.Popen[bytes]] = []

    def __enter__(self) -> Self:
        for original, mounted in self._pairs:
            argv = ["sh", "-c", self._LOOP, "-", str(original), str(mounted)]
            self._processes.append(
                subprocess.Popen(argv, stderr=subprocess.PIPE, start_new_session=True)
            )
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        value: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        running = [process.poll() is None for process in self._processes]
        said = []
        for process in self._processes:
            if process.poll() is None:
                os.killpg(process.pid, 9)
            said.append(process.communicate(timeout=_PATIENCE)[1].decode())
        if kind is None:
            assert all(running), said


def open_on_server(folder: Path) -> list[str]:
    """Files below ``folder`` that an smbd holds open, the folder itself not counted."""
    found = []
    for process in Path("/proc").glob("[0-9]*"):
        if mounts.command_line(int(process.name))[:1] and "smbd" in _comm(process):
            for fd in _listdir(process / "fd"):
                target = _readlink(process / "fd" / fd)
                if target.startswith(f"{folder}/"):
                    found.append(target)
    return found


def _comm(process: Path) -> str:
    try:
        return (process / "comm").read_text()
    except OSError:
        return ""


def _listdir(folder: Path) -> list[str]:
    try:
        return os.listdir(folder)
    except OSError:
        return []


def _readlink(path: Path) -> str:
    try:
        return os.readlink(path)
    except OSError:
        return ""
