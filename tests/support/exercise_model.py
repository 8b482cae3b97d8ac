"""What files must hold, as the exerciser's model knows it, and how an answer is held beside it."""

from __future__ import annotations

import os
from dataclasses import dataclass, field


class Differs(AssertionError):
    """Something is not as the model says."""


class WrongBytes(Differs):
    """``seen`` and ``wanted``: some bytes from the first that differs."""

    def __init__(self, text: str, seen: bytes, wanted: bytes) -> None:
        super().__init__(text)
        self.seen = seen
        self.wanted = wanted


def check(what: str, seen: object, wanted: object) -> None:
    """Raises :class:`Differs` unless they are equal."""
    if seen != wanted:
        raise Differs(f"{what}: {seen}, and {wanted} by the model")


def check_bytes(name: str, start: int, got: bytes | memoryview, wanted: bytes | bytearray) -> None:
    """Raises :class:`WrongBytes` unless what was read at ``start`` is what was wanted."""
    if got == wanted:
        return
    seen = bytes(got)
    size = min(len(seen), len(wanted))
    at = next((n for n in range(size) if seen[n] != wanted[n]), size)
    wrong = sum(a != b for a, b in zip(seen, wanted, strict=False))
    raise WrongBytes(
        f"{name}: {len(seen)} bytes at {start}, {len(wanted)} wanted; the first wrong one at "
        f"{start + at}, {wrong} in all: {seen[at : at + 16].hex()} "
        f"instead of {bytes(wanted[at : at + 16]).hex()}",
        seen[at : at + 16],
        bytes(wanted[at : at + 16]),
    )


@dataclass
class ModelFile:
    """What a file holds, and when it was modified last as far as programs were told (ns)."""

    content: bytearray = field(default_factory=bytearray)
    mtime: int = 0
    mtime_is_set: bool = False  # by utime, and nothing has modified it since

    def write(self, start: int, piece: bytes | memoryview) -> None:
        """What lies between the end and ``start`` becomes zeros."""
        if piece:
            self.resize(max(len(self.content), start + len(piece)))
            self.content[start : start + len(piece)] = piece
            self.mtime_is_set = False

    def resize(self, size: int) -> None:
        """Cut, or grow by zeros."""
        del self.content[size:]
        self.content.extend(bytes(size - len(self.content)))
        self.mtime_is_set = False


@dataclass
class Open:
    """A handle of the program."""

    fd: int
    name: str
    flags: int

    @property
    def reads(self) -> bool:
        return self.flags & os.O_ACCMODE != os.O_WRONLY

    @property
    def writes(self) -> bool:
        return self.flags & os.O_ACCMODE != os.O_RDONLY

    @property
    def is_direct(self) -> bool:
        return bool(self.flags & os.O_DIRECT)
