"""The mapping of one inode: which cache block is in memory, or on its way there, in which folio.

Invariants: a block has at most one folio; all blocks of an attached folio map to it, and it is not
VOID; the mapping holds one buffer reference for each. Nothing is ever fetched for a block that is
in the mapping, so nothing is fetched twice. An attached folio is a tenant of the pool, which may
evict it when idle. What the server does not have yet is never here (``write/dirty.py``).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator

from netfsfuse.netfs.memory.folio import Folio, FolioState
from netfsfuse.netfs.memory.pool import BufferPool
from netfsfuse.types import CACHE_BLOCK


class Mapping:
    """Block index -> folio. All methods are synchronous."""

    __slots__ = ("_blocks", "_pool", "find")

    def __init__(self, pool: BufferPool) -> None:
        self._pool = pool
        self._blocks: dict[int, Folio] = {}
        self.find: Callable[[int], Folio | None] = self._blocks.get
        """The folio that has, or will have, a block; None if there is none. The dictionary's own
        method: it is asked 24 times a MiB of a cold read."""

    def __len__(self) -> int:
        return len(self._blocks)

    def within(self, start: int, end: int) -> Iterator[Folio]:
        """The folios that have a block of bytes ``[start, end)``, each once, in order."""
        block = start // CACHE_BLOCK
        last = -(-end // CACHE_BLOCK) if start < end else block
        while block < last:
            folio = self._blocks.get(block)
            if folio is not None:
                yield folio
                block = -(-folio.end // CACHE_BLOCK)
            else:
                block += 1

    def attach(self, folio: Folio) -> None:
        """Enter a new folio, none of whose blocks is here; the caller's buffer reference becomes
        the mapping's."""
        folio.home = self
        blocks = self._blocks
        for block in range(folio.start // CACHE_BLOCK, -(-folio.end // CACHE_BLOCK)):
            blocks[block] = folio
        self._pool.register(folio)

    def detach(self, folio: Folio) -> None:
        """It is found no more; readers and tasks that hold it keep it. Idempotent."""
        if folio.home is not self:
            return
        folio.home = None
        blocks = self._blocks
        for block in range(folio.start // CACHE_BLOCK, -(-folio.end // CACHE_BLOCK)):
            del blocks[block]
        self._pool.forget(folio)
        folio.buffer.drop()

    def clear(self) -> None:
        """Detach everything."""
        for folio in set(self._blocks.values()):
            self.detach(folio)

    def outdate(self, start: int, end: int) -> None:
        """The file was changed in ``[start, end)``: what is here of its blocks serves only those
        that wait for it already, and is not to be stored."""
        for folio in list(self.within(start, end)):
            folio.outdated = True
            self.detach(folio)

    def detach_from(self, block: int) -> None:
        """Detach every folio that has ``block`` or one behind it, as :meth:`outdate` does."""
        for folio in {folio for at, folio in self._blocks.items() if at >= block}:
            folio.outdated = True
            self.detach(folio)

    def consume(self, folio: Folio, count: int, *, runs_on: bool, alone: bool) -> None:
        """``count`` bytes of ``folio`` were given to a reader.

        One that follows a pattern (``runs_on``), and is ``alone`` on the file, will not ask for
        them again: then a buffer that is used up goes back while it is still warm in the CPU's
        cache. Bytes are counted, not marked, because the kernel may ask for the end of a piece
        before its middle.
        """
        folio.consumed += count
        if folio.home is None:
            return
        used_up = folio.consumed >= folio.length
        if not (used_up and runs_on and alone) or folio.state is not FolioState.CLEAN:
            self._pool.touch(folio, consumed=used_up or not runs_on)
        elif folio.busy:
            folio.let_go = True
        else:
            self.detach(folio)
