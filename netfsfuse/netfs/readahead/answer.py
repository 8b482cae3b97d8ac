"""What the policy answers to a read."""

from __future__ import annotations

import enum
from dataclasses import dataclass

from netfsfuse.types import CACHE_BLOCK, ByteRange


class Pattern(enum.Enum):
    """What a read was to those before it in its handle."""

    FIRST = "first"
    SEQUENTIAL = "sequential"
    BACKWARD = "backward"
    STRIDED = "strided"
    RANDOM = "random"


@dataclass(frozen=True, slots=True)
class Ahead:
    """``wanted``: ranges that should be on their way now, beyond the demand, in the order in which
    they will be needed; each is stated once. They begin on a cache block and end on one or at the
    end of file. Requests are cut at ``phase + k * request_size``, and ``phase`` is a multiple of
    the block. ``forgotten``: ranges wanted for a run that ended; of them, what was not sent is to
    be cancelled.
    """

    wanted: tuple[ByteRange, ...]
    request_size: int
    phase: int
    forgotten: tuple[ByteRange, ...] = ()


def block_floor(position: int) -> int:
    """``position`` rounded down to a cache block."""
    return position - position % CACHE_BLOCK


def block_ceil(position: int) -> int:
    """``position`` rounded up to a cache block."""
    return -(-position // CACHE_BLOCK) * CACHE_BLOCK
