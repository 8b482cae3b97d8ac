"""What an exerciser does, as plain data: operations drawn from a seed. Pure.

An operation says everything about itself, its bytes included, and can be left out without changing
the others: a program that found a fault can be made shorter. Positions are absolute, or counted
from the end that the file has by then.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from random import Random

KIB = 1024
MIB = 1024 * KIB
PAGE = 4096
NAMES = ("a", "b", "c")
SLOTS = 5
"""Handles that are open at once, two and more of one file among them."""
LARGEST_FILE = 5 * MIB
LARGEST_PIECE = 2 * MIB

WEIGHTS = {
    "open": 120,
    "close": 90,
    "read": 220,
    "write": 240,
    "truncate": 30,
    "ftruncate": 40,
    "fsync": 40,
    "fdatasync": 10,
    "map": 25,
    "load": 50,
    "store": 60,
    "msync": 15,
    "unmap": 15,
    "stat": 90,
    "utime": 15,
    "rename": 15,
    "unlink": 10,
    "list": 15,
    "forget": 40,
    "allocate": 5,
    "copy": 8,
    "whole": 20,
    "peer": 15,
    "drop-object": 1,
    "drop-pages": 1,
}
"""How often an operation is drawn; :class:`~tests.support.exerciser.Exerciser` says what each is.
The last three are nothing where the exerciser was not given what they need."""


@dataclass(frozen=True, slots=True)
class Operation:
    """``offset`` is from the end of the file where ``from_end``; ``to`` is a second name or slot.
    ``stamp`` tells the operation, and chooses its bytes. What has no meaning for a kind is 0."""

    kind: str
    slot: int = 0
    name: str = NAMES[0]
    to: str = NAMES[0]
    from_end: bool = False
    offset: int = 0
    length: int = 0
    flags: int = 0
    stamp: int = 0

    def position(self, size: int) -> int:
        """The first byte meant, of a file of ``size`` bytes; from 0 on."""
        return max(0, size + self.offset) if self.from_end else self.offset

    def __str__(self) -> str:
        at = f"end{self.offset:+}" if self.from_end else str(self.offset)
        words = f"#{self.stamp} {self.kind} slot {self.slot} {self.name}->{self.to} at {at}"
        return f"{words}, {self.length} bytes, flags {self.flags:#o}"


def operations(seed: int, count: int) -> list[Operation]:
    """The program of a seed; a longer one of the same seed begins with it."""
    random = Random(seed)
    kinds, weights = list(WEIGHTS), list(WEIGHTS.values())
    return [_draw(random, random.choices(kinds, weights)[0], stamp) for stamp in range(count)]


def _draw(random: Random, kind: str, stamp: int) -> Operation:
    from_end = random.random() < 0.3
    if from_end:
        offset = random.choice((0, -1, -PAGE, 1, random.randrange(-70_000, 70_000)))
    else:
        offset = _offset(random)
    return Operation(
        kind,
        slot=random.randrange(SLOTS),
        name=random.choice(NAMES),
        to=random.choice(NAMES),
        from_end=from_end,
        offset=offset,
        length=_length(random),
        flags=_flags(random),
        stamp=stamp,
    )


def _offset(random: Random) -> int:
    """Mostly in what files usually have, at and beside the edges of pages, blocks and folios."""
    reach = random.choice((PAGE, 64 * KIB, 300_000, 300_000, MIB, 3 * MIB))
    edge = random.choice((1, 1, PAGE, 64 * KIB, 256 * KIB))
    return max(0, random.randrange(reach) // edge * edge + random.choice((0, 0, 0, -1, 1)))


def _length(random: Random) -> int:
    kind = random.random()
    if kind < 0.15:
        return random.choice((1, 2, 511, 512, 513, PAGE - 1, PAGE + 1))
    if kind < 0.45:
        return PAGE * random.randrange(1, 5)
    if kind < 0.85:
        return random.randrange(1, 40_000)
    if kind < 0.97:
        return random.choice((64 * KIB, 128 * KIB, 256 * KIB, random.randrange(1, 300_000)))
    return random.choice((MIB, LARGEST_PIECE, random.randrange(1, LARGEST_PIECE)))


def _flags(random: Random) -> int:
    """For an open; others take single bits of it as their choices."""
    flags = random.choice((os.O_RDONLY, os.O_WRONLY, os.O_WRONLY, os.O_RDWR, os.O_RDWR))
    for flag, share in ((os.O_CREAT, 0.7), (os.O_EXCL, 0.05), (os.O_TRUNC, 0.1)):
        if random.random() < share:
            flags |= flag
    way = random.choice((0, 0, 0, 0, 0, 0, os.O_APPEND, os.O_APPEND, os.O_DIRECT, os.O_DIRECT))
    flags |= way | random.choice((0,) * 8 + (os.O_SYNC, os.O_DSYNC))
    if flags & os.O_ACCMODE == os.O_RDONLY:
        flags &= ~os.O_TRUNC  # POSIX leaves open what that would be
    if not flags & os.O_CREAT:
        flags &= ~os.O_EXCL
    return flags


class Payload:
    """The bytes that operations write: none is zero, and neighbours differ at each place.

    So bytes that are read tell of which operations they may be, or that they are from a hole.
    """

    _PERIOD = 12_289

    def __init__(self) -> None:
        noise = Random(0).randbytes(4 * MIB)
        self._noise = noise.replace(b"\0", b"\1")
        self._starts = len(self._noise) - LARGEST_PIECE

    def of(self, stamp: int, length: int) -> memoryview:
        """What the operation of that stamp writes."""
        start = stamp * self._PERIOD % self._starts
        return memoryview(self._noise)[start : start + length]

    def origins(self, piece: bytes, program: Sequence[Operation]) -> Iterator[Operation]:
        """Operations of a program whose bytes hold ``piece``."""
        for operation in program:
            if piece and bytes(self.of(operation.stamp, operation.length)).find(piece) >= 0:
                yield operation
