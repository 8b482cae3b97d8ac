from __future__ import annotations

import logging

import pytest

from cachefiles import CacheDead, CacheError, NoSpace
from netfsfuse.fscache.health import DEAD_PAUSE, DEAD_PAUSE_MAX, NO_SPACE_PAUSE, Health
from netfsfuse.netfs.io.slow_cache import CACHE_TIMEOUT


@pytest.fixture
def now():
    return [100.0]


@pytest.fixture
def health(now, caplog):
    caplog.set_level(logging.INFO)
    return Health(lambda: now[0])


def test_healthy(health):
    assert health.storing
    assert not health.dead


def test_no_space_pauses_storing_and_is_said_once(health, now, caplog):
    for _ in range(3):
        health.failed(NoSpace("storing: full"))
        assert not health.storing
        assert not health.dead
        now[0] += NO_SPACE_PAUSE - 0.1
        assert not health.storing
        now[0] += 0.1
        assert health.storing
    assert [record.getMessage() for record in caplog.records] == [
        "nothing is stored in the cache until there is room: storing: full"
    ]


def test_a_store_ends_the_pause(health):
    health.failed(NoSpace("full"))
    health.stored()
    assert health.storing
    assert health._said == set()


def test_a_failed_filesystem_is_left_alone_for_longer_each_time(health, now, caplog):
    pause = DEAD_PAUSE
    for _ in range(8):
        health.failed(CacheDead("reading: Input/output error"))
        health.failed(CacheDead("another one that was under way"))
        assert health.dead
        assert not health.storing
        now[0] += pause - 0.1
        assert health.dead
        now[0] += 0.1
        assert not health.dead
        pause = min(2 * pause, DEAD_PAUSE_MAX)
    assert len(caplog.records) == 1
    health.stored()
    assert health.storing
    health.failed(CacheDead("reading: Input/output error"))
    now[0] += DEAD_PAUSE
    assert not health.dead
    assert [record.levelname for record in caplog.records] == ["WARNING", "INFO", "WARNING"]


def test_a_store_that_was_under_way_does_not_end_the_pause(health):
    health.failed(CacheDead("reading: Input/output error"))
    health.stored()
    assert health.dead


def test_one_failed_call_is_no_state(health, caplog):
    health.failed(CacheError("opening: Too many open files"))
    health.failed(CacheError("opening: Too many open files"))
    assert health.storing
    assert not health.dead
    assert len(caplog.records) == 1


def test_our_own_fault_ends_the_cache_with_a_traceback(health, caplog):
    health.broken(ValueError("impossible"))
    assert health.dead
    assert caplog.records[0].exc_info is not None


def test_a_call_that_does_not_come_back_stops_others_and_is_said_once(health, now, caplog):
    first, second = object(), object()
    health.began(first)
    now[0] += CACHE_TIMEOUT - 0.1
    health.began(second)
    assert not health.hangs
    assert health.storing
    now[0] += 0.1
    for _ in range(3):
        assert health.hangs
        assert not health.storing
        assert not health.dead
    health.returned(second)
    assert health.hangs
    health.returned(first)
    for _ in range(3):
        assert not health.hangs
        assert health.storing
    assert [record.getMessage() for record in caplog.records] == [
        "the cache's disk does not answer, reading goes on without the cache",
        "the cache's disk answers again",
    ]


def test_many_calls_that_come_back_are_no_hang(health, now):
    for _ in range(10):
        call = object()
        health.began(call)
        now[0] += CACHE_TIMEOUT - 0.1
        health.returned(call)
        assert not health.hangs
