"""Page-aligned buffers from a pool with a byte budget.

A buffer is one private anonymous ``mmap``: a page of headroom, the payload starting on a page
boundary, and a page of tailroom. A server's reply is received so that its header ends just where
the payload begins, the same memory is handed to readers as ``memoryview`` slices and written to the
backing file, and nothing is copied in between.

Life of a buffer: :meth:`BufferPool.acquire` gives one reference; ``hold``/``drop`` count further
ones (a reply being received, a store being written, a slice handed to the kernel); at zero it goes
back to the pool. ``lend`` returns a slice that holds a reference until the slice itself is garbage.
"""

from __future__ import annotations

import contextlib
import mmap
import weakref
from collections.abc import Callable

import trio

PAGE = mmap.PAGESIZE

_HUGE_MIN = 2 * 1024 * 1024
"""Bytes from which a buffer asks for huge pages: the kernel aligns such a mapping by itself. Cold
reads through the mount then spend a sixth less time in the kernel (A B A B, 4 MiB requests), which
has fewer page tables to walk for every copy."""


class Buffer:
    """``payload`` of ``capacity`` bytes with ``PAGE`` bytes of room below and above it.

    ``memory`` is the whole; ``memory[PAGE + n]`` is ``payload[n]``. ``overrun``: granted beyond the
    budget; do not keep or store.
    """

    __slots__ = (
        "__weakref__",
        "_lent",
        "_on_free",
        "_on_idle",
        "_token",
        "capacity",
        "memory",
        "overrun",
        "payload",
        "references",
    )

    def __init__(
        self,
        capacity: int,
        on_free: Callable[[Buffer], None],
        on_idle: Callable[[Buffer], None] | None = None,
        token: trio.lowlevel.TrioToken | None = None,
    ) -> None:
        # Private: a shared anonymous mapping is shmem, with slower faults and no huge pages.
        flags = mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS
        mapping = mmap.mmap(-1, capacity + 2 * PAGE, flags=flags)
        if capacity >= _HUGE_MIN:
            with contextlib.suppress(OSError):  # a kernel built without
                mapping.madvise(mmap.MADV_HUGEPAGE)
        self.memory = memoryview(mapping)
        self.payload = self.memory[PAGE : PAGE + capacity]
        self.capacity = capacity
        self.overrun = False
        self.references = 0
        self._on_free = on_free
        self._on_idle = on_idle
        self._token = token
        self._lent: dict[int, weakref.ref[memoryview]] = {}  # a weakref that died calls nothing

    def hold(self) -> None:
        """Count one more user."""
        self.references += 1

    def drop(self) -> None:
        """Count one user less; the last one gives the buffer back to its pool."""
        self.references -= 1
        if self.references == 0:
            self._on_free(self)
        elif self.references == 1:
            if self._on_idle is not None:
                self._on_idle(self)
        elif self.references < 0:
            raise RuntimeError("buffer dropped more often than held")

    def lend(self, start: int, end: int) -> memoryview:
        """``payload[start:end]``, read-only, holding the buffer until the view is collected.

        Slices cut from the view do not hold the buffer: pass the view itself on.
        """
        view = self.payload[start:end].toreadonly()
        self.hold()
        loan = weakref.ref(view, self._take_back)
        self._lent[id(loan)] = loan  # not a set: a loan's hash is that of the bytes
        return view

    def _take_back(self, loan: weakref.ref[memoryview]) -> None:
        del self._lent[id(loan)]
        # The cyclic collector may run this in any thread; counts and wake-ups belong to the loop.
        if self._token is None or trio.lowlevel.in_trio_run():
            self.drop()
        else:
            with contextlib.suppress(trio.RunFinishedError):
                self._token.run_sync_soon(self.drop)
