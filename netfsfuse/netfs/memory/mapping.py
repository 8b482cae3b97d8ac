"""The table of one inode: which cache block is in memory, or on its way there, by which subrequest.

Invariants: a block has at most one subrequest; all blocks of an attached subrequest map to it; the
table holds one buffer reference for each attached subrequest, which is also a tenant of the pool.
Nothing is ever issued for a block that is in the table, so nothing is fetched twice.
"""

from __future__ import annotations

from collections.abc import Iterator

from netfsfuse.netfs.io.request import Subrequest
from netfsfuse.netfs.memory.pool import BufferPool
from netfsfuse.types import CACHE_BLOCK


class InflightTable:
    """Block index -> subrequest. All methods are synchronous."""

    def __init__(self, pool: BufferPool) -> None:
        self._pool = pool
        self._blocks: dict[int, Subrequest] = {}

    def __len__(self) -> int:
        return len(self._blocks)

    def find(self, block: int) -> Subrequest | None:
        """The subrequest that has, or will have, this block."""
        return self._blocks.get(block)

    def resident_end(self, block: int) -> int | None:
        """Where the subrequest with this block ends (bytes), None if there is none."""
        sub = self._blocks.get(block)
        return None if sub is None else sub.end

    def within(self, start: int, end: int) -> Iterator[Subrequest]:
        """The subrequests that have a block of bytes ``[start, end)``, each once, in order."""
        block = start // CACHE_BLOCK
        last = -(-end // CACHE_BLOCK) if start < end else block
        while block < last:
            sub = self._blocks.get(block)
            if sub is not None:
                yield sub
                block = -(-sub.end // CACHE_BLOCK)
            else:
                block += 1

    def attach(self, sub: Subrequest) -> None:
        """Enter a new subrequest; the caller's buffer reference becomes the table's."""
        sub.attached = True
        blocks = self._blocks
        for block in range(sub.start // CACHE_BLOCK, -(-sub.end // CACHE_BLOCK)):
            blocks[block] = sub
        self._pool.register(sub)

    def detach(self, sub: Subrequest) -> None:
        """Nobody finds it any more; those who have it pinned keep it. Idempotent."""
        if not sub.attached:
            return
        sub.attached = False
        blocks = self._blocks
        for block in range(sub.start // CACHE_BLOCK, -(-sub.end // CACHE_BLOCK)):
            del blocks[block]
        self._pool.forget(sub)
        sub.buffer.drop()

    def clear(self) -> None:
        """Detach everything."""
        for sub in set(self._blocks.values()):
            self.detach(sub)
