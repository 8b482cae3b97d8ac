"""When another connection is worth opening: a pure rule, on a clock of the test's own."""

from __future__ import annotations

from netfsfuse.smb.session.saturation import BUSY, SECONDS, Saturation, busy_from

MIB = 1 << 20


def run(saturation: Saturation, *, depth: int, seconds: float, rate: float) -> bool:
    """``depth`` reads of 1 MiB always under way, ``rate`` of them answered in a second."""
    now = 0.0
    for _ in range(depth):
        saturation.began(MIB, now, BUSY)
    while now < seconds and not saturation.is_reached(now):
        now += 1 / rate
        saturation.began(MIB, now, BUSY)
        saturation.ended(MIB, BUSY)
    return saturation.is_reached(now)


def test_a_full_line_is_saturated_after_a_while() -> None:
    saturation = Saturation()
    assert not run(saturation, depth=16, seconds=SECONDS * 0.9, rate=1000)
    assert run(Saturation(), depth=16, seconds=SECONDS * 1.1, rate=1000)


def test_few_reads_under_way_never_are() -> None:
    assert not run(Saturation(), depth=2, seconds=10, rate=1000)


def test_a_reader_who_empties_the_line_now_and_then_is_the_limit_himself() -> None:
    saturation, now = Saturation(), 0.0
    for _ in range(100):
        for _ in range(16):
            saturation.began(MIB, now, BUSY)
        now += SECONDS / 2
        assert not saturation.is_reached(now)
        for _ in range(16):
            saturation.ended(MIB, BUSY)
    assert saturation.outstanding == 0


def test_a_server_that_says_nothing_gets_no_second_connection() -> None:
    saturation = Saturation()
    for _ in range(16):
        saturation.began(MIB, 0.0, BUSY)
    assert not saturation.is_reached(100.0)


def test_after_something_was_done_it_is_looked_at_anew() -> None:
    saturation = Saturation()
    assert run(saturation, depth=16, seconds=1, rate=1000)
    saturation.restart(1.0)
    assert not saturation.is_reached(1.0 + SECONDS)
    for _ in range(8):
        saturation.began(MIB, 1.1, BUSY)
        saturation.ended(MIB, BUSY)
    assert not saturation.is_reached(1.0 + SECONDS / 2)
    assert saturation.is_reached(1.0 + SECONDS)


def test_busy_means_more_on_more_connections_and_less_with_few_credits() -> None:
    assert busy_from(1, 512 * MIB) == BUSY
    assert busy_from(3, 512 * MIB) == 3 * BUSY
    assert busy_from(1, MIB) == MIB // 2
