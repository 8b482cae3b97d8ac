"""Whatever is read and however the link behaves: the caps hold, and nothing raises."""

from __future__ import annotations

from hypothesis import given, settings
from hypothesis import strategies as st

from netfsfuse.netfs.readahead import AheadConfig, Link, Streams
from netfsfuse.types import CACHE_BLOCK, ByteRange

KIB = 1024
MIB = 1024 * KIB

configs = st.builds(
    AheadConfig,
    rsize=st.sampled_from([64 * KIB, 192 * KIB, MIB, 4 * MIB]),
    rasize=st.sampled_from([64 * KIB, MIB, 3 * MIB, 64 * MIB]),
    budget=st.sampled_from([128 * KIB, 5 * MIB, 96 * MIB]),
    fixed_rsize=st.booleans(),
    pinned=st.sampled_from([0, 0, 0, 4 * MIB]),
)
steps = st.lists(
    st.tuples(
        st.integers(0, 2),  # the handle
        st.sampled_from(["on", "on", "on", "on", "jump", "back", "stride", "near"]),
        st.integers(0, 64 * MIB),  # where a jump goes
        st.sampled_from([1, 512, 4096, 64 * KIB, 100_000, 128 * KIB, MIB]),
        st.booleans(),  # whether the read waits
        st.sampled_from(
            ["", "", "", "limit", "grow", "shrink", "refuse", "fail", "stall", "close"]
        ),
        st.sampled_from([1e-5, 1e-3, 0.05, 2.0]),  # until the next step
    ),
    max_size=120,
)


class History:
    """Plays steps against the policy and checks each answer."""

    def __init__(self, config, i_size):
        self.config = config
        self.link = Link(config)
        self.handles = [Streams(config, self.link) for _ in range(3)]
        self.positions = [0, 0, 0]
        self.i_size = i_size
        self.now = 0.0
        self.flights = []

    def step(self, number, kind, place, size, waits, event, pause):
        streams = self.handles[number]
        position = self.positions[number]
        start = {
            "on": position,
            "jump": place,
            "back": position - 2 * size,
            "stride": position + 3 * MIB,
            "near": position + place % (4 * size) - 2 * size,
        }[kind]
        start = min(max(0, start), self.i_size - 1)
        size = min(size, self.i_size - start)
        self.positions[number] = start + size
        answer = streams.on_read(start, size, self.i_size, self.now)
        self.check(answer, start, size)
        if waits:
            answer = streams.waited(self.now)
            self.check(answer, start, size)
        if event == "refuse" and answer.wanted:
            streams.refused(answer.wanted[-1])
        elif answer.wanted:
            self.fly(sum(part.length for part in answer.wanted))
        self.happen(event, place, number)
        self.now += pause
        assert self.link.window <= max(self.config.budget, self.config.pinned)
        assert self.link.window <= self.link.limit
        assert self.link.shares.granted <= min(self.link.window, self.config.budget)
        assert self.link.in_flight == sum(flight.length for flight in self.flights)

    def fly(self, length):
        self.flights.append(self.link.started(self.now, length))
        if len(self.flights) > 4:
            flight = self.flights.pop(0)
            self.link.finished(flight, self.now, flight.length)

    def happen(self, event, place, number):
        if event == "limit":
            self.link.limit = place
        elif event == "grow":
            self.i_size += place
        elif event == "shrink":
            self.i_size = max(1, self.i_size // 2)
        elif event == "fail" and self.flights:
            self.link.abandoned(self.flights.pop())
        elif event == "stall" and self.flights:
            self.link.finished(self.flights.pop(0), self.now, 0)
        elif event == "close":
            self.handles[number].close()
            self.handles[number] = Streams(self.config, self.link)

    def check(self, answer, start, size):
        first = start - start % CACHE_BLOCK
        last = min(-(-(start + size) // CACHE_BLOCK) * CACHE_BLOCK, self.i_size)
        demand = ByteRange(first, last)
        for part in answer.wanted:
            assert part
            assert part.start % CACHE_BLOCK == 0
            assert 0 <= part.start < part.end <= self.i_size
            assert part.end % CACHE_BLOCK == 0 or part.end == self.i_size
            assert part.end <= demand.start or part.start >= demand.end
        assert answer.phase % CACHE_BLOCK == 0
        assert CACHE_BLOCK <= answer.request_size <= self.config.rsize
        assert 0 <= answer.phase < answer.request_size
        assert all(part for part in answer.forgotten)
        for streams in self.handles:
            windows = [run.window for run in streams._runs]
            assert sum(windows) <= self.config.rasize


@settings(deadline=None, max_examples=300)
@given(config=configs, i_size=st.integers(1, 64 * MIB), history=steps)
def test_any_history(config, i_size, history):
    world = History(config, i_size)
    for step in history:
        world.step(*step)
    for streams in world.handles:
        streams.close()
    assert world.link.shares.granted == 0


@settings(deadline=None, max_examples=100)
@given(size=st.sampled_from([512, 4096, 100_000, 128 * KIB, MIB]), start=st.integers(0, 1 << 40))
def test_a_steady_reader_asks_for_each_byte_once_and_in_order(size, start):
    streams = Streams(AheadConfig(), Link(AheadConfig()))
    position = 0
    for n in range(400):
        answer = streams.on_read(start + n * size, size, 1 << 50, n * 1e-3)
        for part in (*answer.wanted, *streams.waited(n * 1e-3).wanted):
            assert part.start >= position
            if position > start + (n + 1) * size:
                assert part.start == position
            position = part.end
        assert not answer.forgotten
    assert position > start + 400 * size
