"""A file that is written, as a whole, against a bytes model: random writes, reads, truncates and
cancellations, over a server that answers in any order and a cache that is slow.

At every moment: what is read is what was written; two WRITEs never overlap; no block that changes
on the server is stored meanwhile, and what is stored is what the server has. In the end the server
has all, and nothing leaks.
"""

from __future__ import annotations

import random
from dataclasses import dataclass

import trio
import trio.testing
from hypothesis import given, settings
from hypothesis import strategies as st

from netfsfuse.errors import DiskFull, NetfsError
from netfsfuse.types import CACHE_BLOCK
from tests.netfs.fakes import NOISE, FakeCache, FakeServer, insist, mounted

K = CACHE_BLOCK
MOST = 14 * K


class WatchedServer(FakeServer):
    """Insists that nothing changes which is stored."""

    cache: WatchedCache | None = None

    def _untouched(self, start, end):
        if self.cache is not None and not self.cache.over:
            touched = set(range(start // K, -(-end // K))) & set(self.cache.blocks)
            insist(not touched, f"blocks {touched} change and are stored")

    def store(self, start, data):
        old = len(self.content)
        self._untouched(start, start + len(data))
        if start + len(data) > old and old % K:
            self._untouched(old - 1, old)
        super().store(start, data)

    def resized(self, size):
        low, high = sorted((size, len(self.content)))
        if low < high:
            self._untouched(low if size < high else low - low % K, high)


class WatchedCache(FakeCache):
    """Insists that what is stored is what the server has."""

    server: WatchedServer

    async def write(self, start, data):
        stored = await super().write(start, data)
        for block in range(start // K, -(-(start + len(data)) // K)):
            if block in self.blocks:
                right = bytes(self.server.content[block * K : (block + 1) * K])
                insist(self.blocks[block] == right, f"block {block} is stored and wrong")
        return stored


@dataclass
class Case:
    """One run: all that varies."""

    seed: int
    size: int
    budget: int
    wsize: int
    rsize: int
    behind: bool
    cached: bool
    slow_store: float
    refuses: bool


def differing(one, other):
    """Where ``one`` is not as ``other``: first and last byte; (0, 0) if nowhere."""
    if one == other:
        return 0, 0
    at = [n for n in range(min(len(one), len(other))) if one[n] != other[n]]
    return (at[0], at[-1] + 1) if at else (len(one), len(other))


class Driver:
    """Programs: what they do, and what they must see. ``local``: the file as it was written;
    ``seen``: each state of it, of which the one at ``settled`` was the last one that was whole."""

    def __init__(self, case, inode, server, writing, file):
        self.random = random.Random(case.seed)
        self.case, self.inode, self.server = case, inode, server
        self.writing, self.file = writing, file
        self.local = bytearray(server.content)
        self.seen = [bytes(self.local)]
        self.settled = [0]
        self.position = 0

    def offset(self):
        edge = self.random.randrange(14) * K + self.random.randint(-3, 3)
        at = self.random.choice([edge, self.random.randrange(MOST), self.position, self.position])
        return max(0, min(at, MOST - 1))

    def length(self, most):
        wish = self.random.choice([1, 100, 4096, K // 2, K, K + 1, 3 * K, 5 * K])
        return max(1, min(self.random.choice([wish, self.random.randint(1, wish)]), most))

    def changed(self):
        self.seen.append(bytes(self.local))

    async def write(self):
        start = self.offset()
        data = self.random.randbytes(self.length(MOST - start))
        before = bytes(self.local)
        self.local.extend(bytes(max(0, start + len(data) - len(self.local))))
        self.local[start : start + len(data)] = data
        self.changed()  # a reader may see it from now on
        self.position = start + len(data)
        through = self.random.random() < 0.1
        if self.random.random() < 0.1:
            with trio.move_on_after(self.random.choice([0, 0.005, 0.02])) as scope:
                await self.writing.write(start, data, through=through)
            if scope.cancelled_caught:
                await self.look_again(before, start, data)
        else:
            await self.writing.write(start, data, through=through)
        self.settle()

    def settle(self):
        self.settled[0] = len(self.seen) - 1

    async def look_again(self, before, start, data):
        """A write was cancelled: each byte is the old or the new one, and stays so."""
        size = self.writing.i_size
        now = bytes(await self.writing.read(self.file, 0, size))
        assert len(now) == size
        new = bytes(self.local)
        for at in range(start, min(start + len(data), size)):
            old = before[at] if at < len(before) else 0
            assert now[at] in (old, new[at]), at
        assert now[:start] == (before + bytes(MOST))[:start][: len(now)]
        self.local[:] = now
        self.changed()

    async def read(self):
        start = self.offset()
        size = self.length(MOST)
        answer = bytes(await self.writing.read(self.file, start, size))
        assert answer == bytes(self.local[start : start + size])

    async def read_beside(self):
        """While others write: each byte is one that it had meanwhile."""
        for _ in range(6):
            start, size, first = self.offset(), self.length(MOST), self.settled[0]
            answer = bytes(await self.writing.read(self.file, start, size))
            states = [state[start : start + size] for state in self.seen[first:]]
            assert min(map(len, states)) <= len(answer) <= max(map(len, states))
            for at, byte in enumerate(b"" if answer in states else answer):
                assert any(at < len(state) and state[at] == byte for state in states) or (
                    byte == 0 and any(at >= len(state) for state in states)
                )
            await trio.sleep(self.random.choice([0, 0.01]))

    async def truncate(self):
        size = self.random.choice([0, self.offset(), self.offset(), len(self.local)])
        new = bytes(self.local[:size]) + bytes(max(0, size - len(self.local)))
        self.seen.append(new)
        await self.writing.truncate(size)
        self.local[:] = new
        self.settle()

    async def step(self):
        call = self.random.choices(
            [self.write, self.read, self.truncate, self.drain, self.pause, self.evict, self.mode],
            [12, 6, 1, 1, 3, 1, 1],
        )[0]
        await call()

    async def drain(self):
        await self.random.choice([self.writing.drain, self.writing.flush])()
        assert self.writing.dirty_bytes == 0
        assert differing(self.server.content, self.local) == (0, 0)

    async def pause(self):
        await trio.sleep(self.random.choice([0, 0.001, 0.01, 0.05, 1.1]))

    async def evict(self):
        """All that may go goes."""
        for folio in set(self.inode.mapping.within(0, MOST)):
            if folio.buffer.references == 1:
                folio.unmap()

    async def mode(self):
        self.writing.behind = self.random.random() < 0.7


cases = st.builds(
    Case,
    seed=st.integers(0, 10**6),
    size=st.sampled_from([0, 1, K - 1, K, 3 * K + 5, 9 * K]),
    budget=st.sampled_from([1, 6 * K, 12 * K, 40 * K, 1000 * K]),
    wsize=st.sampled_from([K, 2 * K, 4 * K]),
    rsize=st.sampled_from([K, 2 * K, 4 * K]),
    behind=st.booleans(),
    cached=st.booleans(),
    slow_store=st.sampled_from([0.0, 0.03]),
    refuses=st.just(False),
)


def make(case):
    server = WatchedServer(NOISE[: case.size])
    chance = random.Random(case.seed + 1)
    server.pause = lambda: chance.choice([0, 0.001, 0.01, 0.03])
    server.early = lambda: chance.random() < 0.5
    server.takes = lambda start, length: (
        chance.randint(1, length) if chance.random() < 0.2 else length
    )
    cache = None
    if case.cached:
        cache = WatchedCache(case.size, store_delay=case.slow_store)
        cache.fill(NOISE[: case.size])
        server.cache = cache
        cache.server = server
    return server, cache


async def play(case, steps, beside):
    server, cache = make(case)
    async with mounted(rsize=case.rsize, wsize=case.wsize, buffers=case.budget) as m:
        inode = m.inode(case.size, cache)
        file, other = inode.open(server.open()), inode.open(server.open())
        writing = inode.begin_writing(server.open(), behind=case.behind)
        driver = Driver(case, inode, server, writing, file)
        reader = Driver(case, inode, server, writing, other)
        reader.seen, reader.settled = driver.seen, driver.settled
        async with trio.open_nursery() as nursery:
            if beside:
                nursery.start_soon(reader.read_beside)
            for _ in range(steps):
                await driver.step()
                assert m.netfs.pool.withheld <= m.netfs.pool.budget // 2
        await writing.aclose()
        assert differing(server.content, driver.local) == (0, 0)
        assert inode.i_size == len(driver.local)
        assert bytes(await file.read(0, MOST)) == bytes(driver.local)
        await file.aclose()
        await other.aclose()
        await trio.testing.wait_all_tasks_blocked()
        if cache is not None:
            assert inode.cache is cache
            if cache.changing:
                assert cache.size == len(driver.local)
        assert m.netfs.pool.withheld == 0
        await inode.aclose()
    if cache is not None:
        for block, data in cache.blocks.items():
            assert data == bytes(server.content[block * K : (block + 1) * K])


@settings(deadline=None, max_examples=60)
@given(case=cases, beside=st.booleans())
def test_all_calls_in_any_order(case, beside):
    trio.run(play, case, 20, beside, clock=trio.testing.MockClock(autojump_threshold=0))


@settings(deadline=None, max_examples=30)
@given(case=cases)
def test_bytes_that_the_server_refuses_are_given_up_and_no_others(case):
    """After a failure the file is what the server has, and that is told once."""
    chance = random.Random(case.seed + 2)

    async def main():
        server, cache = make(case)
        server.refuse = lambda start: DiskFull("made up") if chance.random() < 0.2 else None
        async with mounted(rsize=case.rsize, wsize=case.wsize, buffers=case.budget) as m:
            inode = m.inode(case.size, cache)
            file = inode.open(server.open())
            writing = inode.begin_writing(server.open(), behind=case.behind)
            driver = Driver(case, inode, server, writing, file)
            since = writing.errors.sample()
            failed = 0
            for _ in range(20):
                try:
                    start = driver.offset()
                    await writing.write(start, NOISE[: driver.length(MOST - start)])
                    if chance.random() < 0.1:
                        await writing.truncate(driver.offset())
                except NetfsError:
                    failed += 1
                if chance.random() < 0.3:
                    await writing.drain()
                    now = bytes(await writing.read(file, 0, MOST))
                    assert now == bytes(server.content)
            await writing.aclose()
            behind = writing.errors.check(since)[1]
            assert (m.stats.write.errors > 0) >= (behind is not None)
            if m.stats.write.errors:
                assert failed or behind is not None
            assert bytes(await file.read(0, MOST)) == bytes(server.content)
            await file.aclose()
            await inode.aclose()
        if cache is not None:
            for block, data in cache.blocks.items():
                assert data == bytes(server.content[block * K : (block + 1) * K])

    trio.run(main, clock=trio.testing.MockClock(autojump_threshold=0))
