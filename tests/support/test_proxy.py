"""The proxy counts, delays in order, stalls and cuts as it says."""

from __future__ import annotations

import socket
import threading
import time
from collections.abc import Iterator

import pytest

from tests.support.messages import Message
from tests.support.proxy import PrivateProxy
from tests.support.until import until

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


def test_a_drip_and_a_throttle_keep_the_bytes(proxy, echo_port: int) -> None:
    relay: PrivateProxy = proxy(echo_port)
    relay.to_client.rate = 40_000
    with dial(relay) as sock:
        begin = time.monotonic()
        sock.sendall(bytes(range(250)) * 40)
        assert read_exactly(sock, 20_000) == bytes(range(250)) * 80
        assert time.monotonic() - begin > 0.4
        relay.to_client.drip(1, 1000)
        sock.sendall(b"slow")
        assert read_exactly(sock, 8) == b"slowslow"


def test_one_direction_is_stopped(proxy, echo_port: int) -> None:
    relay: PrivateProxy = proxy(echo_port)
    with dial(relay) as sock:
        sock.sendall(b"before")
        assert read_exactly(sock, 12) == b"beforebefore"
        relay.pause(relay.to_client)
        sock.sendall(b"later")
        until(lambda: relay.bytes_to_server == 11, 5, "it is at the server")
        assert relay.bytes_to_client == 12
        relay.resume()
        assert read_exactly(sock, 10) == b"laterlater"


def test_an_old_connection_falls_silent_and_new_ones_do_not(proxy, echo_port: int) -> None:
    relay: PrivateProxy = proxy(echo_port)
    with dial(relay) as old, dial(relay) as also_old:
        until(lambda: relay.open_connections == 2, 5, "both are there")
        relay.silence()
        old.sendall(b"lost")
        with dial(relay) as new:
            new.sendall(b"heard")
            assert read_exactly(new, 10) == b"heardheard"
        old.settimeout(0.1)
        with pytest.raises(TimeoutError):
            old.recv(1)
        relay.cut()
        old.settimeout(10)
        assert old.recv(1) == also_old.recv(1) == b""


def test_connections_are_refused_ignored_and_accepted_again(proxy, echo_port: int) -> None:
    relay: PrivateProxy = proxy(echo_port)
    with dial(relay) as open_one:
        open_one.sendall(b"old")  # it is accepted when the echo is here
        assert read_exactly(open_one, 6) == b"oldold"
        for _ in range(2):
            relay.refuse()
            with pytest.raises(ConnectionRefusedError):
                dial(relay)
            relay.ignore()
            with pytest.raises(TimeoutError):
                socket.create_connection(("127.0.0.1", relay.port), timeout=0.2)
            relay.accept()
            with dial(relay) as sock:
                sock.sendall(b"new")
                assert read_exactly(sock, 6) == b"newnew"
        open_one.sendall(b"old")
        assert read_exactly(open_one, 6) == b"oldold"


def test_a_half_closed_connection_still_carries_what_the_client_sends(
    proxy, echo_port: int
) -> None:
    relay: PrivateProxy = proxy(echo_port)
    with dial(relay) as sock:
        sock.sendall(b"x")
        assert read_exactly(sock, 2) == b"xx"
        relay.half_close()
        assert sock.recv(1) == b""
        sock.sendall(b"more")
        until(lambda: relay.bytes_to_server == 5, 5, "it has arrived")


def numbered(number: int, size: int) -> bytes:
    """One framed message."""
    return size.to_bytes(4, "big") + bytes([number]) * size


@pytest.mark.parametrize("piece", [1, 3, 7, 4096])
def test_messages_are_changed_wherever_their_pieces_end(proxy, echo_port: int, piece: int) -> None:
    """The echo sends each piece twice, so messages are sent whole and dripped back. A change that
    begins in the middle of a message begins with the next."""
    relay: PrivateProxy = proxy(echo_port)
    seen: list[bytes] = []

    def change(message: Message) -> bytes | list[bytes] | None:
        seen.append(bytes(message))
        return {1: b"", 2: [b"two", b"parts"], 3: None}[message[0]]

    with dial(relay) as sock:
        relay.to_server.piece = piece
        relay.to_server.delay = 0.0
        whole = numbered(9, 10)
        sock.sendall(whole[:6])
        until(lambda: relay.bytes_to_server == 6, 5, "a part has passed")
        relay.to_server.change = change
        sock.sendall(whole[6:] + numbered(1, 5) + numbered(2, 300) + numbered(3, 4))
        want = len(whole) + len(b"....two....parts") + 8
        until(lambda: relay.bytes_to_server == want, 5, "all has passed")
        assert seen == [bytes([1]) * 5, bytes([2]) * 300, bytes([3]) * 4]
        relay.to_server.change = None
        sock.sendall(numbered(1, 5))
        until(lambda: relay.bytes_to_server == want + 9, 5, "nothing is changed any more")
