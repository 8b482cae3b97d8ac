"""The page cache: dropping what the machine holds, and warming what the server holds."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterable
from pathlib import Path

_DROP = Path("/proc/sys/vm/drop_caches")
_PIECE = 4 * 1024 * 1024


def can_drop_all() -> bool:
    """Whether the machine's whole page cache can be dropped: root's right."""
    return os.access(_DROP, os.W_OK)


def forget(files: Iterable[Path]) -> None:
    """Drop the page cache: all of it, or, without that right, the pages of these files."""
    for path in files:
        with contextlib.suppress(OSError):
            fd = os.open(path, os.O_RDONLY)
            try:
                os.fsync(fd)  # a dirty page is not dropped
                os.posix_fadvise(fd, 0, 0, os.POSIX_FADV_DONTNEED)
            finally:
                os.close(fd)
    with contextlib.suppress(OSError):
        _DROP.write_text("1")


def warm(path: Path) -> None:
    """Bring a file of the server's own disk into the page cache."""
    piece = bytearray(_PIECE)
    with path.open("rb", buffering=0) as file:
        while file.readinto(piece):
            pass


def how() -> str:
    """What :func:`forget` does here, for the notes."""
    if can_drop_all():
        return "page cache dropped by /proc/sys/vm/drop_caches"
    return "not root: pages dropped by posix_fadvise on the cache's files"
