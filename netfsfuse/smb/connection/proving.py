"""Verifying or decrypting a reply where it has landed, on the loop or in a thread.

Very large replies whose mathematics is slow are finished in threads, at most ``_IN_THREADS`` at a
time, while the next ones are received. It costs throughput: with 8 reads of 1 MiB in flight on two
cores, HMAC ran at 780 MB/s on the loop and at 600 in threads, CMAC and CCM alike on both (the
server's own limit), with eight times the task switches. So a thread is for what would hold up
the loop for more than 2 ms.
"""

from __future__ import annotations

from collections.abc import Callable

import trio

from netfsfuse.smb.connection.landing import Landing
from netfsfuse.smb.wire.header import Header

IN_THREADS = 3
FOR_A_THREAD = {False: 8 << 20, True: 2 << 20}
"""Bytes above which a reply is proved in a thread, by whether its mathematics is slow (0.9 ms for
1 MiB, see ``crypto``) or not (0.1 to 0.25 ms). A READ of 1 MiB never is."""

Prove = Callable[[memoryview], None]
"""Raises ProtocolError for a message that is not what it should be. Called in any thread."""


class Proving:
    """Of one connection. ``land(landing, header, prove)`` takes a reply in, by ``prove`` if that is
    not None; it is called on the loop."""

    def __init__(self, land: Callable[[Landing, Header, Prove | None], None]) -> None:
        self._land = land
        self._threads = trio.CapacityLimiter(IN_THREADS)
        self._free_threads = trio.Semaphore(IN_THREADS)

    async def finish(
        self,
        landing: Landing,
        header: Header,
        prove: Prove | None,
        nursery: trio.Nursery,
        *,
        slow: bool,
    ) -> None:
        """Prove a reply that landed, and have it taken in: before this returns, or in a task of
        ``nursery`` once a thread has done it. Waits for a thread to be free. Raises what ``prove``
        and ``land`` do, there too; what has landed is wiped then."""
        if prove is None or len(landing.message) <= FOR_A_THREAD[slow]:
            self._land(landing, header, prove)
            return
        try:
            await self._free_threads.acquire()
        except BaseException:
            landing.wipe()
            raise
        nursery.start_soon(self._in_thread, landing, header, prove)

    async def _in_thread(self, landing: Landing, header: Header, prove: Prove) -> None:
        try:
            try:
                await trio.to_thread.run_sync(prove, landing.message, limiter=self._threads)
            except BaseException:
                landing.wipe()
                raise
            self._land(landing, header, None)
        finally:
            self._free_threads.release()
