"""The delaying proxy as a bench uses it: real processes, real TCP."""

from __future__ import annotations

import contextlib
import random
import signal
import socket
import struct
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from netfsfuse.lab.link.ceiling import echo_time, peer, receive_rate
from netfsfuse.lab.link.proxy import DelayProxy
from tests.support.until import until

HOST = "127.0.0.1"


@pytest.fixture
def listener() -> Iterator[socket.socket]:
    """A server socket that the test accepts from."""
    with socket.create_server((HOST, 0)) as server:
        server.settimeout(20)
        yield server


@contextlib.contextmanager
def through(
    proxy: DelayProxy, listener: socket.socket
) -> Iterator[tuple[socket.socket, socket.socket]]:
    """(client, server) ends of a new connection over the proxy."""
    with socket.create_connection((HOST, proxy.port), timeout=20) as client:
        server, _ = listener.accept()
        with server:
            server.settimeout(20)
            yield client, server


def send_in_pieces(sock: socket.socket, data: bytes, seed: int) -> None:
    """All of ``data`` in random pieces, then the end of this direction."""
    draw = random.Random(seed)
    begin = 0
    while begin < len(data):
        end = begin + draw.choice((1, 73, 1448, 65536, 1 << 20))
        sock.sendall(data[begin:end])
        begin = end
    sock.shutdown(socket.SHUT_WR)


def receive_all(sock: socket.socket, seed: int) -> bytes:
    draw = random.Random(seed)
    out = bytearray()
    while piece := sock.recv(draw.choice((100, 5000, 1 << 20))):
        out += piece
    return bytes(out)


@pytest.mark.parametrize("splice", [True, False])
@pytest.mark.parametrize(("round_trip", "rate"), [(0.0, None), (0.02, None), (0.004, 50e6)])
def test_bytes_pass_unchanged_both_ways(listener, splice, round_trip, rate):
    data = [random.Random(seed).randbytes(12_345_678) for seed in (1, 2)]
    with (
        DelayProxy(
            listener.getsockname(), round_trip=round_trip, rate=rate, splice=splice
        ) as proxy,
        through(proxy, listener) as (client, server),
        ThreadPoolExecutor(4) as pool,
    ):
        pool.submit(send_in_pieces, client, data[0], 3)
        pool.submit(send_in_pieces, server, data[1], 4)
        to_server = pool.submit(receive_all, server, 5)
        to_client = pool.submit(receive_all, client, 6)
        assert to_server.result() == data[0]
        assert to_client.result() == data[1]


def test_an_ended_direction_leaves_the_other_open(listener):
    with (
        DelayProxy(listener.getsockname(), round_trip=0.01) as proxy,
        through(proxy, listener) as (client, server),
    ):
        client.sendall(b"question")
        client.shutdown(socket.SHUT_WR)
        assert receive_all(server, 1) == b"question"
        server.sendall(b"answer")
        server.close()
        assert receive_all(client, 1) == b"answer"


def test_a_reset_arrives_as_a_reset_after_the_bytes_before_it(listener):
    with (
        DelayProxy(listener.getsockname(), round_trip=0.05) as proxy,
        through(proxy, listener) as (client, server),
    ):
        client.sendall(b"hello")
        assert server.recv(5) == b"hello"
        client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        begin = time.monotonic()
        client.close()
        with pytest.raises(ConnectionResetError):
            server.recv(1)
        assert time.monotonic() - begin >= 0.025


def test_a_target_that_refuses_ends_the_connection_and_not_the_proxy(listener):
    address = listener.getsockname()
    with DelayProxy(address, round_trip=0.0) as proxy:
        listener.close()
        with (
            pytest.raises(ConnectionResetError),  # the connect itself, where the reset is quick
            socket.create_connection((HOST, proxy.port), timeout=20) as client,
        ):
            client.recv(1)
        with (
            socket.create_server(address) as again,
            through(proxy, again) as (client, server),
        ):
            client.sendall(b"x")
            assert server.recv(1) == b"x"


@pytest.mark.parametrize("round_trip", [0.0, 0.001, 0.02])
def test_the_delay_is_what_was_asked_for(round_trip):
    with peer("echo") as port, DelayProxy((HOST, port), round_trip=round_trip) as proxy:
        took = echo_time((HOST, proxy.port))
    assert round_trip <= took < round_trip + 0.01


def test_a_delay_costs_no_throughput():
    with peer("send") as port, DelayProxy((HOST, port), round_trip=0.1) as proxy:
        # Anything that waits for the other end before it goes on carries far less than this.
        assert receive_rate((HOST, proxy.port), 0.3, 0.7) > 150e6


def test_a_rate_is_kept():
    with peer("send") as port, DelayProxy((HOST, port), round_trip=0.01, rate=10e6) as proxy:
        rates = []
        while len(rates) < 5 and max(rates, default=0.0) < 9e6:  # a busy machine is late at times
            rates.append(receive_rate((HOST, proxy.port), 0.3, 1.0))
        assert 9e6 <= max(rates) <= 11e6


def test_two_connections_share_a_rate_fairly(listener):
    # The receivers' own buffers must not matter: what is counted is a second in steady state.
    with (
        DelayProxy(listener.getsockname(), round_trip=0.01, rate=10e6) as proxy,
        through(proxy, listener) as (first, first_server),
        through(proxy, listener) as (second, second_server),
        ThreadPoolExecutor(4) as pool,
    ):
        stop = threading.Event()
        for server in (first_server, second_server):
            pool.submit(_send_until, stop, server)
        counts = [pool.submit(_count, sock) for sock in (first, second)]
        rates = [count.result() for count in counts]
        stop.set()
        for sock in (first, second):
            sock.close()
    assert sum(rates) <= 11e6
    assert min(rates) > 0.3 * sum(rates)


def _send_until(stop: threading.Event, sock: socket.socket) -> None:
    with contextlib.suppress(OSError):
        while not stop.is_set():
            sock.sendall(bytes(65536))


def _count(sock: socket.socket) -> float:
    begin = time.monotonic() + 0.3
    received = 0
    while (now := time.monotonic()) < begin + 1.0:
        piece = len(sock.recv(65536))
        received += piece if now > begin else 0
    return received / (now - begin)


def test_a_limited_link_holds_no_more_than_its_bound(listener):
    """A sender is stopped by TCP once the link's queue, 2 MB here, and the sockets are full."""
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 65536)
    with (
        DelayProxy(listener.getsockname(), round_trip=0.1, rate=10e6) as proxy,
        through(proxy, listener) as (client, server),
    ):
        sent = 0
        client.settimeout(1.0)
        with contextlib.suppress(TimeoutError):
            while sent < 100_000_000:
                sent += client.send(bytes(65536))
        assert 2_000_000 <= sent < 30_000_000  # the kernel's buffers of the relay: some 4 + 4 MB
        client.settimeout(20)
        received = 0
        while received < sent:
            received += len(server.recv(1 << 20))


def test_the_proxy_is_gone_after_its_stop(listener):
    proxy = DelayProxy(listener.getsockname(), round_trip=0.05)
    with proxy, through(proxy, listener) as (client, _):
        pid = proxy.pid
        assert Path(f"/proc/{pid}").exists()
        proxy.stop()
        assert not Path(f"/proc/{pid}").exists()
        with pytest.raises(ConnectionResetError):
            client.recv(1)
    assert proxy.cpu_seconds() > 0


def test_a_proxy_ends_with_the_process_that_made_it():
    script = (
        "from netfsfuse.lab.link.proxy import DelayProxy\n"
        "proxy = DelayProxy(('127.0.0.1', 9), round_trip=0.1)\n"
        "proxy.start()\n"
        "print(proxy.pid, flush=True)\n"
        "input()\n"
    )
    with subprocess.Popen(
        [sys.executable, "-c", script], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    ) as parent:
        assert parent.stdout is not None
        pid = int(parent.stdout.readline())
        assert Path(f"/proc/{pid}").exists()
        parent.send_signal(signal.SIGKILL)
    until(lambda: _ended(pid), 5, "the proxy has ended")


def _ended(pid: int) -> bool:
    """Gone, or a zombie that init has not reaped yet."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] == "Z"
    except OSError:
        return True


def test_a_proxy_that_cannot_start_says_so_and_leaves_nothing(capfd):
    with pytest.raises(OSError, match="did not start"):
        DelayProxy((HOST, 9), round_trip=0.0, listen_host="192.0.2.1").start()
    assert "assign requested address" in capfd.readouterr().err


@pytest.mark.parametrize(("round_trip", "rate"), [(-0.1, None), (0.1, 0.0)])
def test_impossible_links_are_refused(round_trip, rate):
    with pytest.raises(ValueError, match="no link"):
        DelayProxy((HOST, 9), round_trip=round_trip, rate=rate)
