"""Arithmetic on byte ranges. Pure.

An extent is a half-open ``(start, end)``; lists of them are sorted, disjoint and not adjacent.
"""

from __future__ import annotations

from collections.abc import Sequence

Extent = tuple[int, int]


def intersect(left: Sequence[Extent], right: Sequence[Extent]) -> list[Extent]:
    """What lies in both."""
    common: list[Extent] = []
    i = j = 0
    while i < len(left) and j < len(right):
        start = max(left[i][0], right[j][0])
        end = min(left[i][1], right[j][1])
        if start < end:
            common.append((start, end))
        if left[i][1] < right[j][1]:
            i += 1
        else:
            j += 1
    return common


def whole_blocks(extents: Sequence[Extent], block: int, size: int) -> list[Extent]:
    """The parts of ``extents`` made of whole blocks. The last block ends at ``size``."""
    whole: list[Extent] = []
    for start, end in extents:
        first = -(-start // block) * block
        last = size if end >= size else end // block * block
        if first < last:
            whole.append((first, last))
    return whole


def runs(first: int, present: Sequence[object], block: int, size: int) -> list[Extent]:
    """Byte extents of the true ones among ``present``, the blocks from number ``first`` on.

    The last block of the file ends at ``size``.
    """
    found: list[Extent] = []
    begin: int | None = None
    for number, here in enumerate([*present, False], start=first):
        if here and begin is None:
            begin = number
        elif not here and begin is not None:
            found.append((begin * block, min(number * block, size)))
            begin = None
    return found
