"""A TCP proxy that makes a link long: it adds a round trip, and limits the rate if asked to.

    with DelayProxy(("127.0.0.1", 445), round_trip=0.05, rate=125e6) as proxy:
        mount(f"//127.0.0.1:{proxy.port}/share")

Each direction holds what it read for half of the round trip. The proxy ends TCP on both sides, and
so hides what a long link does to TCP's windows; ``tun`` shows that. A connect costs no round trip.
"""

from __future__ import annotations

from types import TracebackType
from typing import Self

from netfsfuse.lab.link.process import LinkProcess


class DelayProxy:
    """Listens on ``listen_host``, port ``port``, and relays to ``target`` (host, port).

    ``round_trip`` is in seconds; ``rate`` in bytes/s for each direction, shared by all connections,
    or None for no limit. A process of its own does the work, from :meth:`start` to :meth:`stop`,
    and ends with this one however this one ends. The caller owns the object; as a context manager
    it starts and stops itself. Blocking for some 0.1 s at start.

    ``splice=False`` copies the bytes through memory instead: slower, see ``line``.
    """

    def __init__(
        self,
        target: tuple[str, int],
        *,
        round_trip: float,
        rate: float | None = None,
        listen_host: str = "127.0.0.1",
        splice: bool = True,
    ) -> None:
        if round_trip < 0 or (rate is not None and rate <= 0):
            raise ValueError(f"no link has a round trip of {round_trip} s and {rate} bytes/s")
        self.target = target
        self.round_trip = round_trip
        self.rate = rate
        self.listen_host = listen_host
        self.port = 0
        self._splice = splice
        self._process: LinkProcess | None = None

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        value: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.stop()

    @property
    def pid(self) -> int:
        """The process that relays; 0 before the start."""
        return self._process.pid if self._process else 0

    def start(self) -> None:
        """Return once connections are accepted. Raises OSError, leaving nothing, on failure."""
        host, port = self.target
        words = [host, str(port), "--listen-host", self.listen_host]
        words += ["--round-trip", repr(self.round_trip)]
        if self.rate is not None:
            words += ["--rate", repr(self.rate)]
        if not self._splice:
            words += ["--copy"]
        self._process = LinkProcess("netfsfuse.lab.link.relay", *words)
        self.port = int(self._process.ready_line)

    def stop(self) -> None:
        """Drop all connections and end the process. Idempotent."""
        if self._process:
            self._process.stop()

    def cpu_seconds(self) -> float:
        """CPU time that the relaying process used since its start; after the stop, in all."""
        return self._process.cpu_seconds() if self._process else 0.0
