"""Ways of changing a file on the server's own disk, and waiting for what follows."""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from pathlib import Path

from tests.mount.reading import MIB

PROMISED = 0.02
"""Seconds after a change within which the next open must show it."""
SIZE = 5 * MIB + 1234


def body(version: int, size: int = SIZE) -> bytes:
    """Every 4 KiB of a version tell which one it is, and no byte of it is zero."""
    line = (b"version %06d of this file; " % version).ljust(32, b"#")
    return (line * (size // len(line) + 1))[:size]


def write_in_place(path: Path, content: bytes) -> None:
    """New bytes into the same inode, which is never shorter than before."""
    with path.open("r+b", buffering=0) as file:
        file.write(content)


def truncate(path: Path, content: bytes) -> None:
    os.truncate(path, len(content))


def grow(path: Path, content: bytes) -> None:
    with path.open("ab", buffering=0) as file:
        file.write(content[path.stat().st_size :])


def rewrite(path: Path, content: bytes) -> None:
    """As a shell's ``>``: to nothing first."""
    path.write_bytes(content)


def save_atomically(path: Path, content: bytes) -> None:
    """As an editor does: another inode takes the name."""
    path.with_name("saved").write_bytes(content)
    path.with_name("saved").rename(path)


class NumberTaken(Exception):
    """Somebody else on this disk was given the inode number."""


def make_anew(path: Path, content: bytes) -> None:
    """Delete and make anew with the same inode number: ext4 hands out the lowest free one, as soon
    as the server has closed the file.
    """
    number = path.stat().st_ino
    deadline = time.monotonic() + 1.0
    path.unlink()
    spares: list[Path] = []
    try:
        while True:
            path.write_bytes(content)
            if path.stat().st_ino == number:
                return
            if time.monotonic() > deadline:
                raise NumberTaken
            if len(spares) < 20:  # numbers below the one we want are filled up
                spares.append(path.rename(path.with_name(f"spare-{len(spares)}")))
            else:
                path.unlink()
    finally:
        for spare in spares:
            spare.unlink()


CHANGES: dict[str, tuple[Callable[[Path, bytes], None], int]] = {
    "same size": (write_in_place, SIZE),
    "same size, rewritten": (rewrite, SIZE),
    "growth": (grow, SIZE + 2 * MIB + 1),
    "truncation": (truncate, MIB + 77),
    "truncation to nothing": (truncate, 0),
    "rewritten shorter": (rewrite, 4097),
    "saved atomically": (save_atomically, SIZE),
    "made anew": (make_anew, SIZE),
    "made anew, longer": (make_anew, SIZE + MIB),
}


def until(act: Callable[[], object]) -> object:
    """What ``act`` returns once it neither raises OSError nor returns None: names may be trusted
    for ``actimeo``, one second.
    """
    deadline = time.monotonic() + 2.5
    while True:
        try:
            result = act()
            if result is not None:
                return result
            failed: object = result
        except OSError as error:
            failed = error
        assert time.monotonic() < deadline, failed
        time.sleep(0.01)
