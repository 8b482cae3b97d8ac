"""The pool of buffers of one mount: a byte budget, eviction, and reads waiting in order.

A *tenant* keeps a buffer only because its bytes may be asked for again: it is registered with the
pool, holds exactly one reference, and must let go when told to (``evict``). A tenant's buffer with
one reference is *idle*; with more, a reader or a task works with it. A buffer whose bytes are
nowhere else (not written to the server yet) is *withheld*: it has no tenant, and is not evicted.

Why no read waits for ever, whatever the budget
-----------------------------------------------
1. A read that waits in :meth:`BufferPool.acquire` holds no buffer (a rule that its callers
   keep), so there is no hold-and-wait and no cycle.
2. Every buffer that is out and not withheld is therefore idle (and evicted on demand), or with a
   reply in flight, a store, or a slice on its way to the kernel. Those end by themselves, and each
   end wakes the waiters, which are served strictly in order; readahead never overtakes them.
3. Withheld buffers may stay for as long as the server is away, so nothing waits for them:
   ``acquire_withheld`` refuses what would leave less than half of the budget, or than one largest
   buffer, to all others. The budget is at least one largest buffer, and what 2 gives back is then
   enough for the first waiter, whatever is withheld. A writer that is refused may wait for its own
   writes to end, but with no buffer beyond the withheld ones in its hands: then it is no different
   from a reader. (With the smallest budgets nothing can be withheld, and writes go through.)
4. A store may hang with the disk under it. A waiter gives up after ``ACQUIRE_TIMEOUT`` and gets a
   buffer beyond the budget (``overrun``), which its user must neither keep nor store; while no
   budgeted buffer has come back since, later ones get theirs at once. Memory beyond the budget is
   bounded by ``OVERRUN_MAX``, and where that is out (a server that holds up many reads for long)
   the waiters get what comes back.
"""

from __future__ import annotations

from typing import Protocol

import trio

from netfsfuse.netfs.memory.buffer import PAGE, Buffer
from netfsfuse.priority_gate import PriorityGate
from netfsfuse.stats import MemoryStats
from netfsfuse.types import CACHE_BLOCK

ACQUIRE_TIMEOUT = 2.0
"""Seconds a read waits for a budgeted buffer. A store takes milliseconds on a disk that works."""

OVERRUN_MAX = 32 * 1024 * 1024
"""Bytes of buffers beyond the budget."""

KEEP_WARM = 32 * 1024 * 1024
"""Bytes of free buffers that stay when a file is closed. While files are read all are kept: to
unmap them and fault new ones in cost a third of all CPU of a cold read (36 % in clear_page,
measured), but an idle mount should not sit on the whole budget."""


class Tenant(Protocol):
    """Keeps a buffer in case its bytes are asked for again."""

    buffer: Buffer

    def evict(self) -> None:
        """Forget the bytes and drop the tenant's one reference. Only called when idle."""
        ...


def size_class(size: int, largest: int) -> int:
    """Capacity to use for ``size`` bytes: the next power of two from a cache block up to
    ``largest``, so that a random 64 KiB read does not take a 1 MiB buffer."""
    if not 0 < size <= largest:
        raise ValueError(f"no buffer of {size} bytes: largest is {largest}")
    blocks = -(-size // CACHE_BLOCK)
    return min(CACHE_BLOCK << (blocks - 1).bit_length(), largest)


class BufferPool:
    """All buffers of one mount. Everything runs on the trio loop.

    ``budget`` bytes in all (memory mapped, headroom included), at least one ``largest`` buffer.
    Readahead may use three quarters of it, so that a read of an application seldom has to throw
    out what was read ahead for another.
    """

    def __init__(self, budget: int, stats: MemoryStats, *, largest: int) -> None:
        self.budget = max(budget, _cost(largest))
        self.in_use = 0
        """Bytes of buffers that are out, those beyond the budget not counted."""
        self.overrun = 0
        """Bytes of those beyond the budget."""
        self.readahead_limit = self.budget * 3 // 4
        self._largest = largest
        self._stats = stats
        self._free: dict[int, list[Buffer]] = {}
        self._free_bytes = 0
        self._consumed: dict[Tenant, None] = {}  # both in order of last use, oldest first
        self._unconsumed: dict[Tenant, None] = {}
        self.withheld = 0
        """Bytes of buffers that cannot be evicted, because their bytes are nowhere else."""
        self._gate: PriorityGate[Buffer] = PriorityGate(
            self._take_for_reader, lambda _, buffer: buffer.drop()
        )
        self._stuck = False
        self._trimming = False  # trimmed, and no buffer taken since
        self._token: trio.lowlevel.TrioToken | None = None

    def acquire_nowait(self, size: int, *, urgent: bool) -> Buffer | None:
        """A buffer of at least ``size`` bytes with one reference, or None if none is to be had now.

        ``urgent`` (a read waits for it) may throw out anything idle; readahead only what has been
        read already. Neither goes before a read that waits in :meth:`acquire`.
        """
        if self._gate.waiting:
            return None
        capacity = size_class(size, self._largest)
        return self._take(capacity, self.budget if urgent else self.readahead_limit, urgent)

    async def acquire(self, size: int) -> Buffer:
        """A buffer of at least ``size`` bytes with one reference, for a read of an application.

        The caller must hold no other buffer. After ``ACQUIRE_TIMEOUT`` seconds the answer is an
        ``overrun`` buffer. Cancelled: nothing is held. No checkpoint if there is room.
        """
        capacity = size_class(size, self._largest)
        buffer = self._gate.take_nowait(capacity)
        if buffer is not None:
            return buffer
        with self._gate.queue(capacity) as place:
            with trio.move_on_after(ACQUIRE_TIMEOUT):
                await place.granted.wait()
            if place.grant is None:
                self._stuck = True
                self._gate.serve()
                await place.granted.wait()
            assert place.grant is not None
            return place.grant

    def acquire_withheld(self, size: int) -> Buffer | None:
        """A buffer of at least ``size`` bytes with one reference, for bytes that will be nowhere
        else; None if none is to be had now. Until :meth:`release_withheld` it counts as withheld.

        At most half the budget is, and so much that a largest buffer is left to all others. Does
        not go before a read that waits in :meth:`acquire`.
        """
        capacity = size_class(size, self._largest)
        cost = _cost(capacity)
        most = min(self.budget // 2, self.budget - _cost(self._largest))
        if self.withheld + cost > most or self._gate.waiting:
            return None
        buffer = self._take(capacity, self.budget, last_resort=True)
        if buffer is not None:
            self.withheld += cost
        return buffer

    def release_withheld(self, buffer: Buffer) -> None:
        """The bytes of a withheld buffer are elsewhere, or given up; the reference stays with the
        caller."""
        self.withheld -= _cost(buffer.capacity)

    def register(self, tenant: Tenant) -> None:
        """From now on ``tenant.buffer`` may be evicted whenever it is idle."""
        self._unconsumed[tenant] = None

    def forget(self, tenant: Tenant) -> None:
        """The tenant let go of its buffer, or is about to. Idempotent."""
        self._consumed.pop(tenant, None)
        self._unconsumed.pop(tenant, None)

    def touch(self, tenant: Tenant, *, consumed: bool) -> None:
        """Note that a tenant was used just now, and whether all of it has been read by now."""
        if tenant in self._consumed:
            del self._consumed[tenant]
        elif tenant in self._unconsumed:
            del self._unconsumed[tenant]
            if not consumed:
                self._unconsumed[tenant] = None
                return
        else:
            return
        self._consumed[tenant] = None

    def trim(self) -> None:
        """The file is not read any more: unmap free buffers beyond ``KEEP_WARM``, and those that
        come back late (lent, or stored by a slow disk) until a buffer is asked for again."""
        self._trimming = True
        while self._free_bytes > KEEP_WARM:
            self._release_one()

    def _take(self, capacity: int, limit: int, last_resort: bool) -> Buffer | None:
        cost = _cost(capacity)
        while self.in_use + cost > limit:
            if not self._evict_one(last_resort):
                return None
        warm = self._free.get(capacity)
        if warm:
            buffer = warm.pop()  # the last used: its pages are the likeliest to be in the CPU cache
            self._free_bytes -= cost
        else:
            while self.in_use + self._free_bytes + cost > self.budget:
                self._release_one()
            buffer = self._allocate(capacity)
        self.in_use += cost
        self._trimming = False
        buffer.references = 1
        return buffer

    def _take_for_reader(self, capacity: int, rank: int) -> Buffer | None:
        """For the gate: a buffer within the budget, or beyond it while that is stuck."""
        buffer = self._take(capacity, self.budget, last_resort=True)
        if buffer is None and self._stuck and self._may_overrun(capacity):
            buffer = self._overrun(capacity)
        return buffer

    def _evict_one(self, last_resort: bool) -> bool:
        for group in (self._consumed, self._unconsumed) if last_resort else (self._consumed,):
            for tenant in group:
                if tenant.buffer.references == 1:
                    tenant.evict()
                    return True
        return False

    def _may_overrun(self, capacity: int) -> bool:
        return not self.overrun or self.overrun + _cost(capacity) <= OVERRUN_MAX

    def _overrun(self, capacity: int) -> Buffer:
        buffer = self._allocate(capacity)
        self.overrun += _cost(capacity)
        buffer.overrun = True
        buffer.references = 1
        return buffer

    def _allocate(self, capacity: int) -> Buffer:
        if self._token is None and trio.lowlevel.in_trio_run():
            self._token = trio.lowlevel.current_trio_token()
        buffer = Buffer(capacity, self._on_free, self._on_idle, self._token)
        self._account(_cost(capacity))
        return buffer

    def _release_one(self) -> None:
        capacity = max(size for size, buffers in self._free.items() if buffers)
        self._free[capacity].pop(0)
        self._free_bytes -= _cost(capacity)
        self._account(-_cost(capacity))

    def _account(self, change: int) -> None:
        stats = self._stats
        stats.buffers_bytes += change
        stats.buffers_bytes_peak = max(stats.buffers_bytes_peak, stats.buffers_bytes)

    def _on_free(self, buffer: Buffer) -> None:
        cost = _cost(buffer.capacity)
        if buffer.overrun:
            self._account(-cost)
            self.overrun -= cost
            self._gate.serve()
            return
        self.in_use -= cost
        self._stuck = False
        self._free.setdefault(buffer.capacity, []).append(buffer)
        self._free_bytes += cost
        if self._trimming:
            self.trim()
        self._gate.serve()

    def _on_idle(self, buffer: Buffer) -> None:
        if not buffer.overrun:
            self._stuck = False
            self._gate.serve()


def _cost(capacity: int) -> int:
    """Bytes mapped for a buffer of ``capacity``."""
    return capacity + 2 * PAGE
