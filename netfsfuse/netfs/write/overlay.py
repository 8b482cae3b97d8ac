"""Reading a file that has dirty bytes: those laid over what the server has.

The dirty bytes are copied before anything is waited for, so the answer shows a write that was done
when the read began whole, or not at all. What lies between them is read in one go, as far as the
server's file reaches; between its end and that of the file as it was written are zeros.
"""

from __future__ import annotations

from typing import Protocol

from netfsfuse.netfs.io.contents import Contents
from netfsfuse.netfs.write.dirty import DirtyFolios
from netfsfuse.types import ByteRange

Bytes = memoryview | bytes


class Underlay(Protocol):
    """An open handle that reads what the server has."""

    async def read(self, start: int, size: int) -> Bytes:
        """The bytes of ``[start, start + size)``; short only at the server's end of file."""
        ...

    def read_now(self, start: int, size: int) -> Bytes | None:
        """The same if it is at hand, else None."""
        ...


async def read_over(
    folios: DirtyFolios, contents: Contents, below: Underlay, start: int, end: int
) -> tuple[Bytes, int]:
    """The bytes of ``[start, end)``, which lies below the end of the file where that is known
    (``contents`` is live), else short at its end; and how many of them came from ``below``."""
    answer = bytearray(end - start)
    gaps = []
    position = start
    for piece in folios.find(start, end):
        if position < piece.start:
            gaps.append(ByteRange(position, piece.start))
        answer[piece.start - start : piece.end - start] = piece.data
        position = piece.end
    reached = end if contents.live else position
    if position < end:
        gaps.append(ByteRange(position, end))
    if not gaps:
        return memoryview(answer), 0
    low, high = gaps[0].start, gaps[-1].end
    if contents.live:
        high = min(high, contents.i_size)
    if low >= high:
        return memoryview(answer)[: reached - start], 0
    data = await below.read(low, high - low)
    for gap in gaps:
        part = data[gap.start - low : max(gap.end - low, 0)]
        answer[gap.start - start : gap.start - start + len(part)] = part
    reached = max(reached, min(low + len(data), end))
    return memoryview(answer)[: reached - start], len(data)
