"""How much one run reads, so that it takes long enough to mean something and less than 10 s. Pure.

At first there is only a guess of the contender's rate. A short probe of an eighth of the guessed
size follows; its time per byte contains logins and slow starts that a larger read spreads out, so
the rate is taken to be half way (by ratio) between probe and guess. What a measured run shows is
believed as it is, and kept for later cells.
"""

from __future__ import annotations

from netfsfuse.lab.bench.plan import MIB, Contender, Kind, Link

LONGEST_RUN = 10.0
"""Seconds that no run may take."""
_AIMED = 8.5  # seconds by the bound above; leaves room for a machine that is slower this time
_AIMED_QUICK = 1.5
SMALLEST = 4 * MIB

# Bytes/s on two cores at no delay, and how much of a second each MB costs for each second of
# round trip (measured with rclone 1.60, Samba 4.17). Only first guesses; a probe corrects them.
_RATES = {Kind.RCLONE: 140e6, Kind.SMBCLIENT_FILE: 400e6, Kind.DISK: 2e9}
_DELAY_COSTS = {Kind.RCLONE: 1.0, Kind.SMBCLIENT: 0.06, Kind.SMBCLIENT_FILE: 0.06}
_RATE = 700e6
_DELAY_COST = 0.04


def guessed_rate(kind: Kind, link: Link) -> float:
    """Bytes/s that a contender will make, before anything is known about it."""
    cost = 1 / _RATES.get(kind, _RATE)
    cost += _DELAY_COSTS.get(kind, _DELAY_COST) * link.round_trip / 1e6
    return min(1 / cost, link.rate or 1e12)


def fitting(rate: float, seconds: float, most: int) -> int:
    """The largest power of two that ``rate`` reads in ``seconds``, from 4 MiB up to ``most``.

    ``most`` itself is taken as it is, also when it is no power of two.
    """
    size = SMALLEST
    while size * 2 <= rate * seconds:
        size *= 2
    return most if rate * seconds >= most else min(size, most)


class Sizes:
    """What the run of each contender reads, learnt while the bench goes on.

    ``has_probes``: whether a contender that was not seen on a link is first given a short run.
    """

    def __init__(self, *, quick: bool = False) -> None:
        self.has_probes = not quick
        self._aimed = _AIMED_QUICK if quick else _AIMED
        self._rates: dict[tuple[Kind, tuple[str, ...], Link, str], float] = {}

    def knows(self, contender: Contender, link: Link, protection: str) -> bool:
        """Whether a probe is not needed: this contender was seen on this link."""
        return self._rate(contender, link, protection) is not None

    def probe(self, contender: Contender, link: Link, most: int) -> int:
        """The size of a probe."""
        guessed = fitting(guessed_rate(contender.kind, link), self._aimed, most)
        return max(min(SMALLEST, most), guessed // 8)

    def probed(
        self, contender: Contender, link: Link, protection: str, size: int, seconds: float
    ) -> None:
        """A probe read ``size`` bytes in ``seconds``."""
        rate = size / max(seconds, 1e-6)
        guessed = guessed_rate(contender.kind, link)
        self._rates[contender.kind, contender.options, link, protection] = max(
            rate, (rate * guessed) ** 0.5
        )

    def learn(
        self, contender: Contender, link: Link, protection: str, size: int, seconds: float
    ) -> None:
        """A measured run read ``size`` bytes in ``seconds``."""
        self._rates[contender.kind, contender.options, link, protection] = size / max(seconds, 1e-6)

    def run(self, contender: Contender, link: Link, protection: str, most: int) -> int:
        """The size of a measured run."""
        known = self._rate(contender, link, protection)
        rate = guessed_rate(contender.kind, link) if known is None else known
        return fitting(rate, self._aimed, most)

    def _rate(self, contender: Contender, link: Link, protection: str) -> float | None:
        """What this contender made here, or else the same program with other options."""
        exact = self._rates.get((contender.kind, contender.options, link, protection))
        if exact is not None:
            return exact
        alike = [
            rate
            for (kind, _, seen, shield), rate in self._rates.items()
            if (kind, seen, shield) == (contender.kind, link, protection)
        ]
        return min(alike, default=None)
