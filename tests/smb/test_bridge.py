"""The handshake with a peer that is no server, or a bad one, and one that no caller wants any more.

What a good one ends in is ``test_handshake``'s, with Samba.
"""

from __future__ import annotations

import socket
import struct
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress

import pytest

from netfsfuse.config import Credentials, ServerConfig
from netfsfuse.errors import LoginRefused, MountError, Refused
from netfsfuse.smb import status
from netfsfuse.smb.session.bridge import Handshake
from netfsfuse.smb.wire.header import Command
from tests.smb import replies

NOT_SUPPORTED = 0xC00000BB
LOGON_FAILURE = 0xC000006D
ACCESS_DENIED = 0xC0000022
INSUFFICIENT_RESOURCES = 0xC000009A
SMB1_REPLY = b"\xffSMB" + bytes(40)

Serve = Callable[[socket.socket], object]


def hear(connection: socket.socket) -> bytes:
    """One message; b"" when the client has hung up."""
    prefix = connection.recv(4, socket.MSG_WAITALL)
    return connection.recv(int.from_bytes(prefix[1:], "big"), socket.MSG_WAITALL) if prefix else b""


def say(connection: socket.socket, message: bytes) -> None:
    connection.sendall(len(message).to_bytes(4, "big") + message)


@contextmanager
def peer(*serve: Serve) -> Iterator[ServerConfig]:
    """A listener whose n-th connection is ``serve[n]``'s, and then closed."""
    with socket.create_server(("127.0.0.1", 0)) as listener:

        def run() -> None:
            for one in serve:
                try:
                    connection, _ = listener.accept()
                except OSError:
                    return
                with connection, suppress(ConnectionError):  # it may hang up at any moment
                    one(connection)

        thread = threading.Thread(target=run)
        thread.start()
        try:
            yield ServerConfig(
                "127.0.0.1",
                "share",
                port=listener.getsockname()[1],
                credentials=Credentials("bob", "secret"),
                connect_timeout=10.0,
            )
        finally:
            listener.shutdown(socket.SHUT_RDWR)
            thread.join(10)
            assert not thread.is_alive()


def answering(message: bytes) -> Serve:
    """Answers the first message with ``message``, and hangs up with the client."""

    def serve(connection: socket.socket) -> None:
        hear(connection)
        say(connection, message)
        hear(connection)

    return serve


def refusing(code: int) -> Serve:
    return answering(replies.reply(Command.NEGOTIATE, 0, replies.error_body(), status=code))


def hang_up(connection: socket.socket) -> None:
    hear(connection)


def negotiated(dialect: int, *, offset: int = 128) -> bytes:
    """A NEGOTIATE reply without a token."""
    body = struct.pack(
        "<HHHH16sIIIIQQHHI",
        *(65, 1, dialect, 0, b"guid" * 4, 0, 1 << 20, 1 << 20, 1 << 20, 0, 0, offset, 0, 0),
    )
    return replies.reply(Command.NEGOTIATE, 0, body)


@pytest.mark.parametrize(
    ("serve", "kind", "says"),
    [
        ([hang_up, hang_up], MountError, "closed the connection"),
        ([answering(b"HTTP/1.1 400 Bad Request" + bytes(40))], MountError, "does not speak SMB"),
        ([answering(SMB1_REPLY)], MountError, "speaks only SMB1"),
        ([hang_up, answering(SMB1_REPLY)], MountError, "speaks only SMB1"),
        ([answering(bytes(31))], MountError, "does not speak SMB"),
        ([answering(negotiated(0x302)[:80])], MountError, "cannot be read"),
        ([answering(negotiated(0x123))], MountError, "cannot be read"),
        ([refusing(NOT_SUPPORTED)], Refused, "does not speak SMB 2.1 or later"),
        ([refusing(INSUFFICIENT_RESOURCES)], MountError, "//127.0.0.1/share: "),
    ],
)
def test_a_bad_peer_is_one_line(serve: list[Serve], kind: type[MountError], says: str) -> None:
    with peer(*serve) as config, pytest.raises(MountError, match=says) as caught:
        Handshake(config).run()
    assert type(caught.value) is kind
    assert "\n" not in str(caught.value)


def test_nobody_listens() -> None:
    with peer() as config:
        pass
    with pytest.raises(MountError, match="connection refused"):
        Handshake(config).run()


def test_a_silent_peer_is_given_up_at_the_deadline() -> None:
    over = threading.Event()
    with peer(lambda _: over.wait(10)) as config:
        begun = time.monotonic()
        try:
            short = ServerConfig(config.host, config.share, port=config.port, connect_timeout=0.3)
            with pytest.raises(MountError, match="does not answer"):
                Handshake(short).run()
        finally:
            over.set()
        assert 0.25 <= time.monotonic() - begun < 5


def test_abandoned_while_it_waits_it_ends_at_once_and_closes_its_socket() -> None:
    heard, ended = threading.Event(), threading.Event()

    def serve(connection: socket.socket) -> None:
        hear(connection)
        heard.set()
        if not hear(connection):
            ended.set()

    with peer(serve) as config:
        handshake = Handshake(config)
        errors: list[BaseException] = []

        def run() -> None:
            try:
                handshake.run()
            except MountError as failed:
                errors.append(failed)

        thread = threading.Thread(target=run)
        thread.start()
        assert heard.wait(5)
        begun = time.monotonic()
        handshake.abandon()
        thread.join(5)
        assert time.monotonic() - begun < 2
        assert ended.wait(5)
    assert len(errors) == 1


def test_abandoned_before_it_began_it_makes_no_login() -> None:
    heard: list[bytes] = []
    with peer(lambda connection: heard.append(hear(connection))) as config:
        handshake = Handshake(config)
        handshake.abandon()
        with pytest.raises(MountError):
            handshake.run()
    assert heard in ([], [b""])


def test_abandoned_after_it_failed_there_is_nothing_to_do() -> None:
    with peer(refusing(NOT_SUPPORTED)) as config:
        handshake = Handshake(config)
        with pytest.raises(Refused):
            handshake.run()
        handshake.abandon()
        handshake.abandon()


@pytest.mark.parametrize(
    ("stage", "code", "kind"),
    [
        (Command.SESSION_SETUP, LOGON_FAILURE, LoginRefused),
        (Command.TREE_CONNECT, ACCESS_DENIED, Refused),
        (Command.TREE_CONNECT, status.BAD_NETWORK_NAME, MountError),
        (Command.TREE_CONNECT, INSUFFICIENT_RESOURCES, MountError),
    ],
)
def test_what_a_refusal_is_called(stage: Command, code: int, kind: type[MountError]) -> None:
    handshake = Handshake(ServerConfig("nas", "films"))
    handshake._stage = stage
    refusal = handshake._refusal(code)
    assert type(refusal) is kind
    assert "films" in str(refusal)
    handshake._transport.dispose(keep_socket=False)
