from __future__ import annotations

import gc

import pytest
import trio
import trio.testing

from netfsfuse.netfs.memory import pool as pools
from netfsfuse.netfs.memory.buffer import PAGE, Buffer
from netfsfuse.netfs.memory.pool import ACQUIRE_TIMEOUT, KEEP_WARM, BufferPool, size_class
from netfsfuse.stats import MemoryStats
from netfsfuse.types import CACHE_BLOCK

K = CACHE_BLOCK
COST = K + 2 * PAGE


class FakeTenant:
    def __init__(self, pool, buffer):
        self.pool = pool
        self.buffer = buffer
        self.evicted = False
        pool.register(self)

    def evict(self):
        assert self.buffer.references == 1
        self.evicted = True
        self.pool.forget(self)
        self.buffer.drop()


def make(blocks, *, largest=4 * K):
    stats = MemoryStats()
    return BufferPool(blocks * COST, stats, largest=largest), stats


async def test_payload_is_on_a_page_with_a_page_on_both_sides():
    pool, _ = make(8)
    buffer = await pool.acquire(K)
    assert len(buffer.memory) == K + 2 * PAGE
    buffer.payload[0] = 1
    buffer.payload[K - 1] = 2
    assert buffer.memory[PAGE] == 1
    assert buffer.memory[PAGE + K - 1] == 2


def test_size_classes_are_powers_of_two_up_to_the_largest():
    assert [size_class(n, 16 * K) for n in (1, K, K + 1, 2 * K, 3 * K, 5 * K, 16 * K)] == [
        K, K, 2 * K, 2 * K, 4 * K, 8 * K, 16 * K,
    ]  # fmt: skip
    assert size_class(3 * K, 3 * K) == 3 * K
    with pytest.raises(ValueError, match="largest"):
        size_class(4 * K, 3 * K)


async def test_a_freed_buffer_is_used_again_and_accounted():
    pool, stats = make(8)
    first = await pool.acquire(10)
    assert pool.in_use == stats.buffers_bytes == COST
    first.drop()
    assert pool.in_use == 0
    assert stats.buffers_bytes == COST  # kept warm
    assert await pool.acquire(K) is first
    with pytest.raises(RuntimeError):
        first.drop() or first.drop()


async def test_free_buffers_are_kept_while_files_are_read_and_few_of_them_after():
    largest = 4 * 1024 * 1024
    pool = BufferPool(64 * largest, stats := MemoryStats(), largest=largest)
    buffers = [await pool.acquire(largest) for _ in range(16)]
    for buffer in buffers:
        buffer.drop()
    assert stats.buffers_bytes == 16 * (largest + 2 * PAGE)
    assert await pool.acquire(largest) in buffers
    buffers[-1].drop()
    pool.trim()
    assert stats.buffers_bytes <= KEEP_WARM
    assert stats.buffers_bytes_peak == 16 * (largest + 2 * PAGE)


async def test_buffers_that_come_back_after_the_last_file_was_closed_are_not_kept():
    largest = 4 * 1024 * 1024
    pool = BufferPool(64 * largest, stats := MemoryStats(), largest=largest)
    buffers = [await pool.acquire(largest) for _ in range(16)]
    pool.trim()
    for buffer in buffers:
        buffer.drop()
    assert stats.buffers_bytes <= KEEP_WARM


async def test_free_buffers_of_another_class_make_room():
    pool, stats = make(4)  # one of the largest fits just so
    small = [await pool.acquire(K) for _ in range(4)]
    for buffer in small:
        buffer.drop()
    del small, buffer
    large = await pool.acquire(4 * K)
    assert large.capacity == 4 * K
    assert stats.buffers_bytes <= pool.budget


async def test_a_budget_below_one_buffer_still_serves_one():
    pool = BufferPool(1, MemoryStats(), largest=4 * K)
    buffer = await pool.acquire(4 * K)
    assert pool.acquire_nowait(K, urgent=True) is None
    buffer.drop()


async def test_lend_holds_the_buffer_until_the_view_is_garbage():
    pool, _ = make(8)
    buffer = await pool.acquire(K)
    buffer.payload[:5] = b"hello"
    view = buffer.lend(1, 4)
    buffer.drop()
    assert bytes(view) == b"ell"
    assert view.readonly
    assert pool.in_use == COST
    del view
    gc.collect()
    assert pool.in_use == 0


async def test_a_view_collected_in_another_thread_is_counted_on_the_loop():
    pool, _ = make(8)
    buffer = await pool.acquire(K)
    box = [buffer.lend(0, 1)]
    buffer.drop()
    await trio.to_thread.run_sync(box.clear)
    await trio.testing.wait_all_tasks_blocked()
    assert pool.in_use == 0


async def test_eviction_takes_consumed_first_then_the_least_recently_used():
    pool, _ = make(4, largest=K)
    a, b, c, d = [FakeTenant(pool, await pool.acquire(K)) for _ in range(4)]
    pool.touch(c, consumed=True)
    pool.touch(a, consumed=False)
    order = []
    for _ in range(4):
        await pool.acquire(K)
        order += [t for t in (a, b, c, d) if t.evicted and t not in order]
    assert order == [c, b, d, a]


async def test_touching_one_that_has_gone_does_not_bring_it_back():
    pool, _ = make(1, largest=K)
    tenant = FakeTenant(pool, await pool.acquire(K))
    tenant.evict()
    pool.touch(tenant, consumed=True)
    held = await pool.acquire(K)
    assert pool.acquire_nowait(K, urgent=True) is None
    held.drop()


async def test_a_buffer_in_use_is_not_evicted(autojump_clock):
    pool, _ = make(1, largest=K)
    tenant = FakeTenant(pool, await pool.acquire(K))
    view = tenant.buffer.lend(0, 1)
    assert pool.acquire_nowait(K, urgent=True) is None
    async with trio.open_nursery() as nursery:
        got = []

        async def acquire():
            got.append(await pool.acquire(K))

        nursery.start_soon(acquire)
        await trio.testing.wait_all_tasks_blocked()
        assert not got
        del view  # now it is idle, and the one who waits must hear of it
    assert tenant.evicted
    assert not got[0].overrun


async def test_readahead_leaves_a_quarter_and_unread_data_alone():
    pool, _ = make(4, largest=K)
    tenants = [FakeTenant(pool, pool.acquire_nowait(K, urgent=False)) for _ in range(3)]
    assert pool.acquire_nowait(K, urgent=False) is None
    assert not any(tenant.evicted for tenant in tenants)
    pool.touch(tenants[1], consumed=True)
    assert pool.acquire_nowait(K, urgent=False) is not None
    assert tenants[1].evicted


async def test_what_is_withheld_leaves_half_and_a_largest_buffer_to_readers(autojump_clock):
    pool, _ = make(12, largest=4 * K)
    withheld = []
    while (buffer := pool.acquire_withheld(K)) is not None:
        withheld.append(buffer)
    assert pool.withheld == len(withheld) * COST
    assert pool.withheld <= pool.budget // 2 < pool.withheld + COST
    large = await pool.acquire(4 * K)  # at once, with the server away for good
    assert not large.overrun
    pool.release_withheld(withheld[0])
    withheld[0].drop()
    assert pool.acquire_withheld(K) is not None
    assert pool.acquire_withheld(K) is None


async def test_a_budget_of_one_buffer_withholds_nothing():
    pool, _ = make(1, largest=K)
    assert pool.acquire_withheld(K) is None
    assert not (await pool.acquire(K)).overrun


async def test_a_withheld_buffer_is_had_by_eviction_but_not_before_a_read_that_waits(
    autojump_clock,
):
    pool, _ = make(4, largest=K)
    tenants = [FakeTenant(pool, await pool.acquire(K)) for _ in range(4)]
    buffer = pool.acquire_withheld(K)
    assert buffer is not None
    assert tenants[0].evicted
    views = [tenant.buffer.lend(0, 1) for tenant in tenants[1:]]
    async with trio.open_nursery() as nursery:
        nursery.start_soon(pool.acquire, K)
        await trio.testing.wait_all_tasks_blocked()
        assert pool.acquire_withheld(K) is None
        pool.release_withheld(buffer)
        buffer.drop()  # the read's now
    assert pool.withheld == 0
    del views


async def test_who_waits_is_served_in_order_and_before_readahead(autojump_clock):
    pool, _ = make(4)
    held = [await pool.acquire(K) for _ in range(4)]
    served = []

    async def acquire(name, size):
        buffer = await pool.acquire(size)
        assert not buffer.overrun
        served.append(name)
        await trio.sleep(0.1)
        buffer.drop()

    async with trio.open_nursery() as nursery:
        nursery.start_soon(acquire, "large", 2 * K)
        await trio.testing.wait_all_tasks_blocked()
        nursery.start_soon(acquire, "small", K)
        await trio.testing.wait_all_tasks_blocked()
        held.pop().drop()
        await trio.testing.wait_all_tasks_blocked()
        assert served == []  # the small one does not overtake
        assert pool.acquire_nowait(K, urgent=False) is None
        assert pool.acquire_nowait(K, urgent=True) is None
        held.pop().drop()
        await trio.testing.wait_all_tasks_blocked()
        assert served == ["large"]
        held.pop().drop()
        await trio.testing.wait_all_tasks_blocked()
        assert served == ["large", "small"]
        held.pop().drop()
    assert pool.in_use == 0


async def test_a_cancelled_waiter_lets_the_next_one_through(autojump_clock):
    pool, _ = make(4)
    held = [await pool.acquire(K) for _ in range(3)]
    got = []

    async def acquire(size, scope):
        with scope:
            got.append(await pool.acquire(size))

    async with trio.open_nursery() as nursery:
        scope = trio.CancelScope()
        nursery.start_soon(acquire, 4 * K, scope)
        await trio.testing.wait_all_tasks_blocked()
        nursery.start_soon(acquire, K, trio.CancelScope())
        await trio.testing.wait_all_tasks_blocked()
        assert not got
        scope.cancel()
    assert [(buffer.capacity, buffer.overrun) for buffer in got] == [(K, False)]
    for buffer in held + got:
        buffer.drop()
    assert pool.in_use == 0


async def test_a_buffer_granted_to_a_cancelled_waiter_comes_back(autojump_clock):
    pool, _ = make(1, largest=K)
    held = await pool.acquire(K)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(pool.acquire, K)
        await trio.testing.wait_all_tasks_blocked()
        nursery.cancel_scope.cancel()
        held.drop()  # granted after the cancellation was delivered, before the waiter ran
    assert pool.in_use == 0


async def test_patience_ends_in_a_buffer_beyond_the_budget(autojump_clock):
    pool, stats = make(1, largest=K)
    held = await pool.acquire(K)
    before = trio.current_time()
    extra = await pool.acquire(K)
    assert trio.current_time() - before == pytest.approx(ACQUIRE_TIMEOUT)
    assert extra.overrun
    assert stats.buffers_bytes == 2 * COST
    more = await pool.acquire(K)  # stuck: at once
    assert trio.current_time() - before == pytest.approx(ACQUIRE_TIMEOUT)
    extra.drop()
    more.drop()
    assert stats.buffers_bytes == COST
    held.drop()  # it moves again
    again = await pool.acquire(K)
    assert not again.overrun
    before = trio.current_time()
    late = await pool.acquire(K)
    assert trio.current_time() - before == pytest.approx(ACQUIRE_TIMEOUT)
    late.drop()
    again.drop()


async def test_memory_beyond_the_budget_has_a_bound_too(autojump_clock, monkeypatch):
    monkeypatch.setattr(pools, "OVERRUN_MAX", 2 * COST)
    pool, stats = make(1, largest=K)
    held = await pool.acquire(K)
    got = []

    async def want():
        got.append(await pool.acquire(K))

    async with trio.open_nursery() as nursery:
        for _ in range(4):
            nursery.start_soon(want)
        await trio.sleep(100)
        assert [buffer.overrun for buffer in got] == [True, True]
        assert stats.buffers_bytes == 3 * COST
        got[0].drop()  # what comes back is given to the next
        await trio.testing.wait_all_tasks_blocked()
        assert [buffer.overrun for buffer in got] == [True, True, True]
        held.drop()
    assert not got[3].overrun
    assert stats.buffers_bytes == stats.buffers_bytes_peak == 3 * COST
    for buffer in got[1:]:
        buffer.drop()
    assert (pool.in_use, pool.overrun) == (0, 0)


def test_a_buffer_works_without_a_pool():
    freed = []
    buffer = Buffer(K, freed.append)
    buffer.hold()
    view = buffer.lend(0, 3)
    buffer.drop()
    assert not freed
    del view
    assert freed == [buffer]
