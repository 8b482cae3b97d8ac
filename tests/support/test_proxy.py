"""The proxy counts, delays in order, stalls and cuts as it says."""

from __future__ import annotations

import socket
import threading
import time
from collections.abc import Iterator

import pytest

from tests.support.proxy import PrivateProxy

DELAY = 0.2


@pytest.fixture
def echo_port() -> Iterator[int]:
    """A server that sends everything back, twice."""
    listener = socket.create_server(("127.0.0.1", 0))

    def serve(sock: socket.socket) -> None:
        with sock:
            try:
                while data := sock.recv(65536):
                    sock.sendall(data + data)
            except ConnectionError:
                pass

    def accept() -> None:
        while True:
            try:
                sock, _ = listener.accept()
            except OSError:
                return
            thread = threading.Thread(target=serve, args=(sock,))
            thread.start()
            threads.append(thread)

    threads = [threading.Thread(target=accept)]
    threads[0].start()
    yield listener.getsockname()[1]
    listener.shutdown(socket.SHUT_RDWR)
    listener.close()
    for thread in threads:
        thread.join()


def dial(proxy: PrivateProxy) -> socket.socket:
    return socket.create_connection(("127.0.0.1", proxy.port), timeout=10)


def read_exactly(sock: socket.socket, size: int) -> bytes:
    with sock.makefile("rb") as stream:
        return stream.read(size)


def test_counts_both_directions(proxy, echo_port: int) -> None:
    relay: PrivateProxy = proxy(echo_port)
    message = bytes(range(256)) * 4000
    with dial(relay) as sock:
        sender = threading.Thread(target=sock.sendall, args=(message,))
        sender.start()
        got = read_exactly(sock, 2 * len(message))
        sender.join()
        assert relay.connections == relay.open_connections == 1
    assert len(got) == 2 * len(message)
    assert relay.bytes_to_server == len(message)
    assert relay.bytes_to_client == 2 * len(message)


def test_delay_is_a_round_trip_and_keeps_the_order(proxy, echo_port: int) -> None:
    relay: PrivateProxy = proxy(echo_port, delay=DELAY)
    with dial(relay) as sock:
        begin = time.monotonic()
        for letter in (b"a", b"b", b"c"):
            sock.sendall(letter)
        got = read_exactly(sock, 6)
        took = time.monotonic() - begin
    assert sorted(got) == list(b"aabbcc")
    assert got.index(b"a") < got.index(b"b") < got.index(b"c")
    assert DELAY <= took < 3 * DELAY  # not a round trip for each of the three


@pytest.mark.parametrize("reset", [False, True])
def test_cut_drops_connections_and_takes_new_ones(proxy, echo_port: int, reset: bool) -> None:
    relay: PrivateProxy = proxy(echo_port)
    with dial(relay) as sock:
        sock.sendall(b"x")
        assert read_exactly(sock, 2) == b"xx"
        relay.cut(reset=reset)
        if reset:
            with pytest.raises(ConnectionResetError):
                sock.recv(1)
        else:
            assert sock.recv(1) == b""
    with dial(relay) as sock:
        sock.sendall(b"y")
        assert read_exactly(sock, 2) == b"yy"


def test_pause_holds_everything_back_until_resume(proxy, echo_port: int) -> None:
    relay: PrivateProxy = proxy(echo_port)
    with dial(relay) as old:
        old.sendall(b"x")
        assert read_exactly(old, 2) == b"xx"
        relay.pause()
        with dial(relay) as new:
            for sock in (old, new):
                sock.sendall(b"y")
                sock.settimeout(0.2)
                with pytest.raises(TimeoutError):
                    sock.recv(1)
                sock.settimeout(10)
            relay.resume()
            assert read_exactly(old, 2) == read_exactly(new, 2) == b"yy"


def test_server_that_is_down_closes_the_connection(proxy) -> None:
    with socket.create_server(("127.0.0.1", 0)) as unused:
        port = unused.getsockname()[1]
    relay: PrivateProxy = proxy(port)
    with dial(relay) as sock:
        assert sock.recv(1) == b""


def test_stop_ends_thread_and_connections(echo_port: int) -> None:
    relay = PrivateProxy(echo_port)
    with dial(relay) as sock:
        sock.sendall(b"x")
        assert read_exactly(sock, 2) == b"xx"
        relay.stop()
        assert sock.recv(1) == b""
    relay.stop()
    relay.cut()
    with pytest.raises(ConnectionRefusedError):
        dial(relay)


async def test_control_works_from_inside_a_trio_loop(proxy, echo_port: int) -> None:
    relay: PrivateProxy = proxy(echo_port)
    relay.pause()
    relay.resume()
    relay.cut()
