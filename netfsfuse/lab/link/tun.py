"""A long link below TCP, so that TCP's own windows count. For root, in a private namespace.

    python -m netfsfuse.lab.link.namespace -- python -m ...     # and there:
    with DelayTun(round_trip=0.05) as link:
        start_server(host=link.server_address)
        connect(link.client_target)

A client that connects to ``client_target`` reaches what listens on the same port of
``server_address`` (or of every address), and both see a link of that round trip, the connect
included. ``reflector`` delays the packets.

A private Samba listens there with ``PrivateSamba(options=link.samba_options)``, started after the
link; mount ``//{link.client_target}:{samba.port}/{samba.share}``.
"""

from __future__ import annotations

from collections.abc import Mapping
from types import TracebackType
from typing import Self

from netfsfuse.lab.link.process import LinkProcess
from netfsfuse.lab.link.reflector import FAR, NEAR, PREFIX


class DelayTun:
    """A delaying TUN device for as long as the context lasts. ``round_trip`` in seconds.

    One at a time in a namespace. Entering raises OSError where the device cannot be made.
    """

    server_address = NEAR
    client_target = FAR
    samba_options: Mapping[str, str] = {"interfaces": f"127.0.0.1/8 {NEAR}/{PREFIX}"}
    """Options for :class:`~netfsfuse.lab.server.samba.PrivateSamba`, which listens on loopback
    only."""

    def __init__(self, round_trip: float) -> None:
        if round_trip < 0:
            raise ValueError(f"no link has a round trip of {round_trip} s")
        self.round_trip = round_trip
        self._process: LinkProcess | None = None

    def __enter__(self) -> Self:
        self._process = LinkProcess("netfsfuse.lab.link.reflector", repr(self.round_trip))
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        value: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        if self._process:
            self._process.stop()

    def cpu_seconds(self) -> float:
        """CPU time that the reflecting process used since its start; after the end, in all."""
        return self._process.cpu_seconds() if self._process else 0.0
