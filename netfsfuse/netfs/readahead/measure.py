"""What completed requests say about the link: round trip, delivery rate, jitter, rounds.

Delivery-rate samples as in BBR: the bytes delivered between the sending of a request and its
answer, divided by the longer of the time they took to be delivered and the time over which they
were sent. The second guards against answers that were held up and come in a heap.
"""

from __future__ import annotations

from collections.abc import Callable

SHORTEST = 50e-6
"""Seconds. No round trip through the loop and two sockets is shorter; keeps divisions sane."""

RATE_MEMORY = 1.0
"""Seconds for which a highest delivery rate is believed, and at least ``ROUNDS`` round trips."""

ROUNDS = 10
"""BBR's ten rounds: long enough to ride over a dip, short enough to follow a slower link."""

ROUND_TRIP_MEMORY = 10.0
"""Seconds for which a lowest round trip is believed: BBR's, of which routes change more rarely."""

JITTER_GAIN = 1 / 16
"""RTP's smoothing of the difference between successive round trips."""


class Flight:
    """One READ under way. Opaque to the caller; made by ``Link.started``."""

    __slots__ = ("delivered", "delivered_at", "first_sent", "length", "limited", "sent")

    def __init__(self, length: int, sent: float) -> None:
        self.length = length
        self.sent = sent
        self.delivered = 0  # by the link, when this was sent
        self.delivered_at = sent
        self.first_sent = sent
        self.limited = False  # the readers, not the link, kept the pipe from being full


class Recent:
    """The extreme (``max`` or ``min``) of the last ``memory`` to ``2 * memory`` seconds.

    Time passes only with samples: while nothing is measured, nothing is forgotten.
    """

    __slots__ = ("_late", "_pick", "_since", "value")

    def __init__(self, pick: Callable[[float, float], float]) -> None:
        self._pick = pick
        self._late = 0.0  # the extreme since ``_since``
        self._since = 0.0
        self.value: float | None = None  # None: no sample yet

    def add(self, sample: float, now: float, memory: float) -> None:
        """Take in a sample; older ones than ``memory`` seconds may be forgotten by it."""
        if self.value is None:
            self.value = self._late = sample
            self._since = now
        elif now - self._since >= memory:
            self.value = self._pick(self._late, sample)
            self._late = sample
            self._since = now
        else:
            self.value = self._pick(self.value, sample)
            self._late = self._pick(self._late, sample)

    def reset(self) -> None:
        """Forget everything."""
        self.value = None


class Measure:
    """The running account of requests. Times in seconds, sizes in bytes, rates in bytes/s."""

    __slots__ = (
        "_best",
        "_first_sent",
        "_last_round_trip",
        "_rates",
        "_round_end",
        "_round_trips",
        "delivered",
        "delivered_at",
        "in_flight",
        "jitter",
        "lowest_seen_at",
        "round_trip",
    )

    def __init__(self) -> None:
        self._rates = Recent(max)
        self._round_trips = Recent(min)
        self._best = 0.0
        self._first_sent = 0.0
        self._last_round_trip: float | None = None
        self._round_end = 0
        self.delivered = 0
        self.delivered_at = 0.0
        self.in_flight = 0
        self.jitter = 0.0  # mean difference between successive round trips
        self.round_trip = 0.0  # the lowest of late; 0: none yet
        self.lowest_seen_at = 0.0  # when a round trip was near the lowest last

    @property
    def rate(self) -> float:
        """Highest delivery rate of late; 0 before the first answer."""
        return self._best

    @property
    def product(self) -> int:
        """The delay-bandwidth product: bytes in flight that fill the pipe without a queue."""
        return int(self._best * self.round_trip)

    def started(self, now: float, length: int) -> Flight:
        """A request goes out."""
        flight = Flight(length, now)
        if self.in_flight <= 0:
            self.in_flight = 0
            self.delivered_at = self._first_sent = now
        flight.delivered = self.delivered
        flight.delivered_at = self.delivered_at
        flight.first_sent = self._first_sent
        self.in_flight += length
        return flight

    def abandoned(self, flight: Flight) -> None:
        """It will not be answered; says nothing about the link."""
        self.in_flight -= flight.length

    def finished(self, flight: Flight, now: float, transferred: int) -> bool:
        """It was answered; True when that ends a round, one round trip of the whole pipe."""
        self.in_flight -= flight.length
        round_trip = max(now - flight.sent, SHORTEST)
        self._note_round_trip(round_trip, now)
        self.delivered += transferred
        took = max(now - flight.delivered_at, flight.sent - flight.first_sent, SHORTEST)
        self.delivered_at = now
        self._first_sent = flight.sent
        rate = (self.delivered - flight.delivered) / took
        if not flight.limited or rate > self._best:
            self._rates.add(rate, now, max(RATE_MEMORY, ROUNDS * self.round_trip))
            self._best = self._rates.value or 0.0
        if flight.delivered < self._round_end:
            return False
        self._round_end = self.delivered
        return True

    def _note_round_trip(self, round_trip: float, now: float) -> None:
        self._round_trips.add(round_trip, now, ROUND_TRIP_MEMORY)
        self.round_trip = self._round_trips.value or round_trip
        if round_trip <= 1.25 * self.round_trip:
            self.lowest_seen_at = now
        if self._last_round_trip is not None:
            change = abs(round_trip - self._last_round_trip)
            self.jitter += (change - self.jitter) * JITTER_GAIN
        self._last_round_trip = round_trip

    def forget_round_trip(self, now: float) -> None:
        """The pipe has been drained: what is measured from now on holds no queue."""
        self._round_trips.reset()
        self.lowest_seen_at = now
