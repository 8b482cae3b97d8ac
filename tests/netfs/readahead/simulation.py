"""A link, a server and readers in virtual time, to run the policy against.

The link has a round trip and a rate; answers leave the server one behind the other, each delayed
by a random ``noise`` before. The client fetches what the policy wants, and what a read needs and
nobody fetches, in blocks that it keeps. Sizes in bytes, times in seconds.
"""

from __future__ import annotations

import heapq
import itertools
import random
from collections import deque
from collections.abc import Callable

from netfsfuse.netfs.readahead import Ahead, AheadConfig, Link, Streams
from netfsfuse.types import CACHE_BLOCK, ByteRange

KIB = 1024
MIB = 1024 * KIB
GIB = 1024 * MIB
OVERHEAD = 50e-6  # seconds of the server for each request


class World:
    """One mount: virtual clock, link, policy. ``demanded``, ``fetched``: bytes so far."""

    def __init__(
        self,
        *,
        round_trip: float,
        rate: float,
        noise: float = 0.0,
        config: AheadConfig | None = None,
        seed: int = 1,
    ) -> None:
        self.config = config or AheadConfig()
        self.link = Link(self.config)
        self.round_trip = round_trip
        self.rate = rate
        self.noise = noise
        self.now = 0.0
        self.fetched = 0
        self.queue_peak = 0.0  # seconds that an answer waited for those before it
        self.random = random.Random(seed)
        self._free_at = 0.0
        self._events: list[tuple[float, int, Callable[[], None]]] = []
        self._order = itertools.count()

    def at(self, time: float, do: Callable[[], None]) -> None:
        heapq.heappush(self._events, (time, next(self._order), do))

    def run(self, until: float = float("inf")) -> None:
        while self._events and self._events[0][0] <= until:
            self.now, _, do = heapq.heappop(self._events)
            do()
        if until != float("inf"):
            self.now = until

    def send(self, length: int, done: Callable[[], None]) -> None:
        """A READ goes out now; ``done`` is called when it is answered."""
        flight = self.link.started(self.now, length)
        self.fetched += length
        arrives = self.now + self.round_trip / 2 + OVERHEAD
        if self.noise:
            arrives += self.random.expovariate(1 / self.noise)
        begins = max(self._free_at, arrives)
        self.queue_peak = max(self.queue_peak, begins - arrives)
        self._free_at = begins + length / self.rate

        def answered() -> None:
            self.link.finished(flight, self.now, length)
            done()

        self.at(self._free_at + self.round_trip / 2, answered)


class Handle:
    """One open file: what of it is there or on its way, by block."""

    def __init__(self, world: World, i_size: int) -> None:
        self.world = world
        self.i_size = i_size
        self.streams = Streams(world.config, world.link)
        self.there: set[int] = set()
        self.coming: dict[int, list[Callable[[], None]]] = {}
        self.ahead = 0  # bytes fetched ahead
        self.demanded = 0  # bytes fetched for somebody who waited
        self.reads = self.waits = 0
        self.patterns: list[str] = []

    def read(self, start: int, size: int, done: Callable[[], None]) -> None:
        size = min(size, self.i_size - start)
        answer = self.streams.on_read(start, size, self.i_size, self.world.now)
        self.reads += 1
        self.patterns.append(self.streams.pattern.value)
        blocks = range(start // CACHE_BLOCK, (start + size - 1) // CACHE_BLOCK + 1)
        missing = [block for block in blocks if block not in self.there]
        if missing:
            self.demanded += self._fetch(
                ByteRange(blocks.start * CACHE_BLOCK, blocks.stop * CACHE_BLOCK), answer
            )
        for wanted in answer.wanted:
            self.ahead += self._fetch(wanted, answer)
        if not missing:
            done()
            return
        self.waits += 1
        more = self.streams.waited(self.world.now)
        for wanted in more.wanted:
            self.ahead += self._fetch(wanted, more)
        left = len(missing)

        def one_came() -> None:
            nonlocal left
            left -= 1
            if left == 0:
                done()

        for block in missing:
            self.coming[block].append(one_came)

    def _fetch(self, wanted: ByteRange, answer: Ahead) -> int:
        """Send what is neither there nor coming, in pieces of the answer's grid."""
        sent = 0
        position, end = wanted.start, min(wanted.end, self.i_size)
        while position < end:
            line = (
                answer.phase
                + ((position - answer.phase) // answer.request_size + 1) * answer.request_size
            )
            stop = min(line, end)
            fresh = [
                block
                for block in range(position // CACHE_BLOCK, -(-stop // CACHE_BLOCK))
                if block not in self.there and block not in self.coming
            ]
            if fresh:
                self._send(fresh)
                sent += len(fresh) * CACHE_BLOCK
            position = stop
        return sent

    def _send(self, blocks: list[int]) -> None:
        for block in blocks:
            self.coming[block] = []

        def arrived() -> None:
            for block in blocks:
                self.there.add(block)
                for wake in self.coming.pop(block):
                    wake()

        self.world.send(len(blocks) * CACHE_BLOCK, arrived)


class Reader:
    """A program that reads ``total`` bytes from ``start`` on, in reads of ``size``, consuming
    ``speed`` bytes/s; the kernel has up to ``depth`` of its reads in flight or unread, shuffled by
    up to ``disorder`` places."""

    def __init__(
        self,
        handle: Handle,
        *,
        total: int,
        size: int = MIB,
        start: int = 0,
        speed: float = 4e9,
        depth: int = 4,
        disorder: int = 0,
    ) -> None:
        self.handle = handle
        self.world = handle.world
        self.size = size
        self.speed = speed
        self.depth = depth
        self.disorder = disorder
        self.began = self.world.now
        self.ended: float | None = None
        self.consumed = 0
        self._position = start
        self._end = start + total
        self._batch: deque[int] = deque()
        self._outstanding: deque[int] = deque()  # positions asked for, in the order of the file
        self._arrived: set[int] = set()
        self._busy = False
        self._ask()

    @property
    def throughput(self) -> float:
        """Bytes/s from the first read to the last byte, or until now."""
        ended = self.world.now if self.ended is None else self.ended
        return self.consumed / max(ended - self.began, 1e-9)

    def _ask(self) -> None:
        room = self.depth - len(self._outstanding)
        positions = []
        while room > 0 and self._position < self._end:
            positions.append(self._position)
            self._position += self.size
            room -= 1
        self._outstanding.extend(positions)
        if self.disorder:
            key = {
                position: n + self.world.random.uniform(0, self.disorder)
                for n, position in enumerate(positions)
            }
            positions.sort(key=key.__getitem__)
        for position in positions:
            self.handle.read(position, self.size, lambda at=position: self._came(at))

    def _came(self, position: int) -> None:
        self._arrived.add(position)
        self._consume()

    def _consume(self) -> None:
        if self._busy or not self._outstanding or self._outstanding[0] not in self._arrived:
            return
        self._busy = True
        self.world.at(self.world.now + self.size / self.speed, self._consumed)

    def _consumed(self) -> None:
        self._busy = False
        self._arrived.discard(self._outstanding.popleft())
        self.consumed += self.size
        if not self._outstanding and self._position >= self._end:
            self.ended = self.world.now
            return
        self._ask()
        self._consume()
