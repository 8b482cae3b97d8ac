"""What a long link itself can carry, and the delay that it really adds, with no SMB in it."""

from __future__ import annotations

import contextlib
import socket
import statistics
import subprocess
import sys
import time
from collections.abc import Iterator

from netfsfuse.lab.link.proxy import DelayProxy
from netfsfuse.lab.link.tun import DelayTun

_BUFFER_BYTES = 1 << 20
_ECHOES = 30
_MOST_ECHO_SECONDS = 3.0


@contextlib.contextmanager
def peer(kind: str, host: str = "127.0.0.1") -> Iterator[int]:
    """A process that ``send``s without end, or ``echo``es, on the port that this yields.

    It serves one connection and ends with it, or with the context.
    """
    process = subprocess.Popen(
        [sys.executable, "-m", "netfsfuse.lab.link.ceiling", kind, host],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        process_group=0,
    )
    with process:
        try:
            assert process.stdout is not None
            yield int(process.stdout.readline())
        finally:
            process.kill()


def receive_rate(address: tuple[str, int], warm_up: float, seconds: float) -> float:
    """Bytes/s that one connection to a sending :func:`peer` brings, after ``warm_up`` seconds."""
    buffer = bytearray(_BUFFER_BYTES)
    with socket.create_connection(address) as connection:
        end = time.monotonic() + warm_up
        while time.monotonic() < end:
            connection.recv_into(buffer)
        received, begin = 0, time.monotonic()
        while (elapsed := time.monotonic() - begin) < seconds:
            received += connection.recv_into(buffer)
    return received / elapsed


def echo_time(address: tuple[str, int]) -> float:
    """Median seconds until one byte is back from an echoing :func:`peer`."""
    times: list[float] = []
    with socket.create_connection(address) as connection:
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        begin = time.monotonic()
        while len(times) < _ECHOES and time.monotonic() - begin < _MOST_ECHO_SECONDS:
            sent = time.monotonic()
            connection.sendall(b".")
            connection.recv(1)
            times.append(time.monotonic() - sent)
    return statistics.median(times)


def measure_ceiling(round_trip: float, rate: float | None = None, seconds: float = 1.0) -> float:
    """Bytes/s through a :class:`DelayProxy` between a local sender and us, in a steady state.

    Takes ``seconds``, three round trips and half a second. ``rate`` as for the proxy.
    """
    with (
        peer("send") as port,
        DelayProxy(("127.0.0.1", port), round_trip=round_trip, rate=rate) as proxy,
    ):
        return receive_rate(("127.0.0.1", proxy.port), 0.2 + 3 * round_trip, seconds)


def measure_round_trip(round_trip: float, rate: float | None = None) -> float:
    """The round trip that a :class:`DelayProxy` really adds, in seconds: median of small echoes."""
    with (
        peer("echo") as port,
        DelayProxy(("127.0.0.1", port), round_trip=round_trip, rate=rate) as proxy,
    ):
        return echo_time(("127.0.0.1", proxy.port))


def measure_tun(round_trip: float, seconds: float = 1.0) -> tuple[float, float]:
    """(bytes/s, median echo in s) of one connection over a :class:`DelayTun`. In a namespace."""
    with DelayTun(round_trip) as link:
        with peer("echo", link.server_address) as port:
            echo = echo_time((link.client_target, port))
        with peer("send", link.server_address) as port:
            # Slow start and BBR's search take some twenty round trips.
            return receive_rate((link.client_target, port), 0.2 + 20 * round_trip, seconds), echo


def _serve(kind: str, host: str) -> None:
    with socket.create_server((host, 0)) as listener:
        print(listener.getsockname()[1], flush=True)
        connection, _ = listener.accept()
    connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    buffer = bytearray(_BUFFER_BYTES)
    with connection:
        while kind == "send":
            connection.sendall(buffer)
        while count := connection.recv_into(buffer):
            connection.sendall(memoryview(buffer)[:count])


if __name__ == "__main__":
    with contextlib.suppress(OSError):  # the other side has gone: that is how it ends
        _serve(*sys.argv[1:3])
