"""The helper library as one mount uses it: what its files share, put together."""

from __future__ import annotations

from collections.abc import Callable

from netfsfuse.config import DEFAULT_RASIZE, MIB, ReadConfig
from netfsfuse.netfs.inode import NetfsInode
from netfsfuse.netfs.io.issue import Issuer
from netfsfuse.netfs.memory.pool import BufferPool
from netfsfuse.netfs.ops import CacheObject
from netfsfuse.netfs.readahead import AheadConfig
from netfsfuse.netfs.write.outlet import Outlet
from netfsfuse.stats import Stats
from netfsfuse.tasks import ServiceNursery
from netfsfuse.types import CACHE_BLOCK

MOST_WSIZE = MIB
"""Bytes, largest WRITE where ``wsize`` is not given: the kernel writes no larger pieces, and a
folio of the size of a piece takes it whole."""


class Netfs:
    """One per mount.

    ``nursery``: subrequests, cache queries and stores are its tasks. ``rsize``: the largest server
    read in bytes, a multiple of 64 KiB. ``capacity()``: bytes of reads that the server allows at
    once, now.
    """

    def __init__(
        self,
        *,
        nursery: ServiceNursery,
        config: ReadConfig,
        stats: Stats,
        rsize: int,
        capacity: Callable[[], int],
        wsize: int | None = None,
        write_capacity: Callable[[], int] | None = None,
    ) -> None:
        wsize = min(rsize, MOST_WSIZE) if wsize is None else wsize
        if rsize < CACHE_BLOCK or rsize % CACHE_BLOCK:
            raise ValueError(f"rsize must be a multiple of {CACHE_BLOCK}, not {rsize}")
        if wsize < CACHE_BLOCK or wsize % CACHE_BLOCK:
            raise ValueError(f"wsize must be a multiple of {CACHE_BLOCK}, not {wsize}")
        self.pool = BufferPool(config.buffers, stats.memory, largest=max(rsize, wsize))
        rasize = DEFAULT_RASIZE if config.rasize is None else config.rasize
        ahead = AheadConfig(
            rsize=rsize,
            rasize=rasize,
            budget=min(config.readahead_budget, self.pool.readahead_limit),
            fixed_rsize=config.rsize is not None,
            pinned=rasize if config.rsize and config.rasize else 0,
        )
        self._issuer = Issuer(
            nursery=nursery, pool=self.pool, stats=stats, ahead=ahead, capacity=capacity
        )
        self._outlet = Outlet(self._issuer, wsize=wsize, capacity=write_capacity or capacity)

    def inode(
        self,
        *,
        i_size: int,
        cache: CacheObject | None,
        debug_name: str,
        prefill: memoryview | None = None,
    ) -> NetfsInode:
        """A file of ``i_size`` bytes; ``cache`` is its cache object, the inode's own from now on.

        ``prefill``: all of its bytes, where they are at hand, see :meth:`NetfsInode.fill`; such an
        inode needs no cache object. ``debug_name`` is for the log. The caller closes the inode
        after its last handle.
        """
        inode = NetfsInode(
            self._issuer, self._outlet, i_size=i_size, cache=cache, debug_name=debug_name
        )
        if prefill is not None:
            inode.fill(prefill)
        return inode

    def unsent(self) -> list[tuple[str, int]]:
        """The files of which the server has not got all, by their names for the log, and how many
        bytes it lacks of each."""
        return [(name, file.folios.size) for file, name in self._outlet.dirty_files.items()]

    async def drain(self) -> None:
        """Return when everything that was written is on the server, or has failed, and all that was
        fetched is stored, or will never be."""
        await self._outlet.drain()
        await self._issuer.stores.drain()
