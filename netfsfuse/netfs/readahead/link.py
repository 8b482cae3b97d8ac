"""How many bytes the link to the server wants in flight, and in requests of which size.

Three states. In STARTUP the window doubles with every round trip in which it was used, until three
rounds brought no quarter more of delivery. In STEADY it is kept a few requests above the
delay-bandwidth product. In DRAIN, for two rounds when no low round trip was seen for ten seconds,
it is one request, so that the queue which we keep is not taken for the link's own delay. (What the
kernel's own readahead keeps in flight, up to 4 MiB, stays and is: the window may come to exceed the
product by as much, once.)
"""

from __future__ import annotations

import enum

from netfsfuse.netfs.readahead.answer import block_floor
from netfsfuse.netfs.readahead.config import AheadConfig
from netfsfuse.netfs.readahead.measure import ROUND_TRIP_MEMORY, Flight, Measure
from netfsfuse.netfs.readahead.shares import Shares
from netfsfuse.netfs.readahead.sizing import RequestSize

FIRST_WINDOW = 4 * 1024 * 1024
"""Bytes before anything is known: twice what a new stream opens with, so that its first doubling
need not wait for a round. 33 ms of 1 Gbit/s, once."""

STARTUP_SLACK = 4
"""Requests above its multiple of the product that STARTUP may try."""

GROWING = 4
FLAT = 2
"""Times the product that STARTUP may try, by whether the last round brought more. A round ends
with the first answer to what was sent in it, and so delivers what the window of the round before
asked for: of a link that still gives more only a quarter of what it may be asked for now is known.
Held to twice that, the window doubled in every second round only, and a link of 50 ms took nine
rounds to fill instead of six (measured)."""

FULL_GAIN = 1.25
FULL_ROUNDS = 3
"""BBR: the pipe is full when three rounds brought less than a quarter more."""

MORE = 1.5
"""A round is one of the three only if its window was so many times that of the best one, or if the
window has ceased to grow: less cannot have brought more."""

ALPHA = 3
"""Requests above the product that are always wanted: one that the server works on, one behind it,
and one that our own loop is late with. Simulated with 1 ms of noise at 1 GB/s, 3 gave 92 % of the
link and 2 gave 83 %; without noise both gave all. Of 256 KiB on 1 Gbit/s they are 6 ms for
another reader's small read."""

BETA = 5
"""Requests above the product at which it shrinks. The gap to ALPHA is where it holds still."""

MOST_STEP = 8
"""Requests by which it grows in one round at most, when growing has paid again and again."""

MOST_JITTER = 2e-3
"""Seconds of noise that are covered on a link with a shorter round trip than that. A longer one
may have its own round trip's worth."""


class _State(enum.Enum):
    STARTUP = "startup"
    STEADY = "steady"
    DRAIN = "drain"


class Link:
    """The policy's state for one mount. All times are seconds of any one monotonic clock."""

    __slots__ = (
        "_config",
        "_drain_rounds",
        "_flat_rounds",
        "_full_rate",
        "_full_window",
        "_limit",
        "_measure",
        "_size",
        "_state",
        "_step",
        "_used",
        "_waited",
        "_window",
        "_windows",
        "shares",
    )

    def __init__(self, config: AheadConfig) -> None:
        self._config = config
        self._measure = Measure()
        self._size = RequestSize(config)
        self._state = _State.STARTUP
        self._window = max(FIRST_WINDOW, 2 * self._size.current)
        self._limit = config.budget
        self._full_rate = 0.0
        self._full_window = 0  # under which that was delivered
        self._windows = self._window, self._window  # of the rounds before; the older one delivers
        self._flat_rounds = 0
        self._drain_rounds = 0
        self._step = 1
        self._waited = False  # in this round
        self._used = False  # whether the readers kept the pipe full in this round
        self.shares = Shares(config, self.window)

    @property
    def window(self) -> int:
        """Bytes that should be in flight or ahead for all readers together."""
        if self._config.pinned:
            window = self._config.pinned
        elif self._state is _State.DRAIN:
            window = self._size.current
        else:
            window = self._window
        return max(0, min(window, self._limit, self._config.budget))

    @property
    def limit(self) -> int:
        """Bytes of reads that the server's credits allow at once. Takes effect immediately."""
        return self._limit

    @limit.setter
    def limit(self, limit: int) -> None:
        if limit != self._limit:
            self._limit = max(0, limit)
            self.shares.set_capacity(self.window)

    @property
    def known(self) -> bool:
        """Whether the link has been full once, so that rate and window mean something."""
        return self._state is not _State.STARTUP

    @property
    def rate(self) -> float:
        """Highest delivery rate of late, bytes/s; 0 before the first answer."""
        return self._measure.rate

    @property
    def round_trip(self) -> float:
        """Lowest round trip of late, seconds; 0 before the first answer."""
        return self._measure.round_trip

    @property
    def in_flight(self) -> int:
        """Bytes asked for and not answered."""
        return self._measure.in_flight

    def request_size(self, read_size: int = 0) -> int:
        """For a reader of ``read_size`` bytes a time: a power of two times 64 KiB, or ``rsize``."""
        return self._size.for_reads_of(read_size)

    def started(self, now: float, length: int) -> Flight:
        """A READ of ``length`` bytes goes out."""
        measure = self._measure
        flight = measure.started(now, length)
        # STARTUP runs one doubling ahead of the streams, so half a window is all they can use.
        fullness = 0.4 if self._state is _State.STARTUP else 0.75
        most = min(self.window, self._config.rasize)
        full = measure.in_flight + self._size.current >= fullness * most
        flight.limited = not full or self._state is _State.DRAIN
        if full:
            self._used = True
        return flight

    def finished(self, flight: Flight, now: float, transferred: int) -> None:
        """It was answered with ``transferred`` bytes."""
        if self._measure.finished(flight, now, transferred):
            self._end_round(now)

    def abandoned(self, flight: Flight) -> None:
        """It failed or was cancelled: no sample."""
        self._measure.abandoned(flight)

    def waited(self, now: float) -> None:
        """A sequential reader had to wait for data that was not there yet."""
        self._waited = True

    def _end_round(self, now: float) -> None:
        measure = self._measure
        self._size.update(measure.rate, known=self.known, round_trip=measure.round_trip)
        if self._state is _State.STARTUP:
            self._start_up()
        elif self._state is _State.DRAIN:
            self._drain(now)
        else:
            self._steer(now)
        self._waited = self._used = False
        self.shares.known = self.known or self._config.pinned > 0
        self.shares.set_capacity(self.window)

    def _start_up(self) -> None:
        if not self._used:
            return
        measure = self._measure
        delivered, later = self._windows
        self._windows = later, self._window
        if measure.rate >= FULL_GAIN * self._full_rate:
            self._full_rate = measure.rate
            self._full_window = delivered
            self._flat_rounds = 0
        elif delivered >= MORE * self._full_window or self._window < FULL_GAIN * delivered:
            self._flat_rounds += 1
        if self._flat_rounds >= FULL_ROUNDS:
            self._state = _State.STEADY
            self._size.update(measure.rate, known=True, round_trip=measure.round_trip)
            self._window = self._clamp(self._aim(ALPHA))
            return
        gain = FLAT if self._flat_rounds else GROWING
        most = gain * measure.product + STARTUP_SLACK * self._size.current
        self._window = self._clamp(min(2 * self._window, max(most, FIRST_WINDOW)))

    def _steer(self, now: float) -> None:
        request = self._size.current
        low, high = self._aim(ALPHA), self._aim(BETA)
        if self._window > high:
            self._step = 1
            shrunk = self._window - max(request, (self._window - high) // 4)
            self._window = self._clamp(max(shrunk, high))
        elif self._window < low and self._waited and self._used:
            grown = min(self._window + self._step * request, low + self._measure.product // 4)
            self._window = self._clamp(grown)
            self._step = min(2 * self._step, MOST_STEP)
        else:
            self._step = 1
        if self._used and now - self._measure.lowest_seen_at > ROUND_TRIP_MEMORY:
            self._state = _State.DRAIN
            self._drain_rounds = 0

    def _drain(self, now: float) -> None:
        """The first round empties the queue, the second measures."""
        self._drain_rounds += 1
        if self._drain_rounds == 1:
            self._measure.forget_round_trip(now)
        else:
            self._state = _State.STEADY

    def _aim(self, requests: int) -> int:
        """The product, what the link's noise needs besides, and so many requests."""
        measure = self._measure
        request = self._size.current
        noise = min(measure.jitter, max(MOST_JITTER, measure.round_trip)) * measure.rate - request
        return measure.product + max(0, int(noise)) + requests * request

    def _clamp(self, window: int) -> int:
        """Two requests at least: while one is answered the other must be on its way."""
        return max(2 * self._size.current, min(block_floor(window), self._config.budget))
