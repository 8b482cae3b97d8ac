"""The way to the server for one cell: nothing, the delaying proxy, or the TUN device."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass

from netfsfuse.lab.bench.plan import Link
from netfsfuse.lab.bench.target import Target
from netfsfuse.lab.link.ceiling import measure_ceiling, measure_round_trip
from netfsfuse.lab.link.proxy import DelayProxy
from netfsfuse.lab.link.tun import DelayTun

_CEILING_SECONDS = 0.5


@dataclass(frozen=True, slots=True)
class Measured:
    """What a link is by itself: bytes/s that it carries, and the round trip that it adds (s)."""

    ceiling: float
    added: float


class Links:
    """Opens links, and measures each kind once."""

    def __init__(self, known: Mapping[Link, Measured] | None = None) -> None:
        """``known`` are links that were measured before."""
        self._measured = dict(known or {})

    @contextmanager
    def to(self, target: Target, link: Link) -> Iterator[Target]:
        """The target as clients are to reach it, for as long as the context lasts."""
        if link.direct:
            yield target
            return
        if link.tun:  # made by the maker of this network
            yield target.at(DelayTun.client_target, target.port)
            return
        address = (target.host, target.port)
        with DelayProxy(address, round_trip=link.round_trip, rate=link.rate) as proxy:
            yield target.at("127.0.0.1", proxy.port)

    def measured(self, link: Link) -> Measured | None:
        """What the proxy of such a link can do; None where nothing stands between."""
        if link.direct:
            return None
        if link not in self._measured:
            self._measured[link] = Measured(
                measure_ceiling(link.round_trip, link.rate, _CEILING_SECONDS),
                measure_round_trip(link.round_trip, link.rate),
            )
        return self._measured[link]
