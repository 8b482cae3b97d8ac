"""What smbprotocol's Connection calls its transport, over a blocking socket of ours."""

from __future__ import annotations

import contextlib
import select
import socket
import time
from typing import Any

from netfsfuse.errors import Disconnected, MountError, NetfsError
from netfsfuse.smb.wire.header import MAGIC_PLAIN, MAGIC_SMB1, MAGIC_TRANSFORM

_SHORTEST, _LONGEST = 32, 128 * 1024
"""Bytes a message of a handshake can have: an SMB1 header to a login token, the length of which has
16 bits, with all the negotiate contexts there are."""


_SHORTEST_WAIT = 0.001

_UNTAKEN = 30_000
"""Milliseconds for which the peer's TCP may take nothing of what was sent: as long as any call on
the mount waits."""

_RTO_MAX, _RESENT = 44, 1000
"""Milliseconds after which what was lost is sent again at the latest (TCP_RTO_MAX_MS, which Python
does not name): the kernel's own doubling reaches 16 s in an outage of 28 s, and is then as late
when it is over."""


class HandshakeTransport:
    """What smbprotocol's Connection calls its transport, over a socket of ours.

    ``recv`` is called by smbprotocol's receive thread, and by its successor when that has ended.
    All waits end at ``deadline`` (time.monotonic). ``abort`` may be called from any thread and ends
    all waits at once.
    """

    def __init__(self, deadline: float) -> None:
        self.connected = False
        self.sock: socket.socket | None = None
        self.failure: NetfsError | None = None
        self._deadline = deadline
        self._peer = "the server"
        self._wake_read, self._wake_write = socket.socketpair()
        self.aborted = False
        self.hung_up = False  # the peer has closed
        self.last = b""  # the message that ``recv`` returned last

    def remaining(self) -> float:
        """Seconds to the deadline, at least a millisecond."""
        return max(self._deadline - time.monotonic(), _SHORTEST_WAIT)

    def extend(self, deadline: float) -> None:
        """All waits, also those that have begun, end at ``deadline`` from now on."""
        self._deadline = deadline

    def open(self, address: str, port: int, shown: str) -> None:
        """Connect. Raises MountError in words for the user."""
        self._peer = f"{shown}:{port}"
        try:
            self.sock = socket.create_connection((address, port), timeout=self.remaining())
        except socket.gaierror:
            raise MountError(f"cannot find the host {shown}") from None
        except UnicodeError:  # a label that is empty, or has over 63 letters
            raise MountError(f"{address} cannot be the name of a host") from None
        except TimeoutError:
            raise MountError(f"{self._peer} does not answer") from None
        except OSError as failed:
            words = (failed.strerror or str(failed)).lower()
            raise MountError(f"cannot connect to {self._peer}: {words}") from None
        self.sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        for option, milliseconds in ((socket.TCP_USER_TIMEOUT, _UNTAKEN), (_RTO_MAX, _RESENT)):
            with contextlib.suppress(OSError):  # the second one since Linux 6.15
                self.sock.setsockopt(socket.IPPROTO_TCP, option, milliseconds)
        self.connected = not self.aborted

    def connect(self) -> None:
        """Called by smbprotocol; the socket is open already."""

    def send(self, message: Any) -> None:
        """Send one message, a Structure or bytes."""
        data = message if isinstance(message, bytes) else message.pack()
        if self.failure is not None:  # noted before smbprotocol had anything outstanding
            raise self.failure
        if self.sock is None or not self.connected:
            raise Disconnected("not connected")
        self.sock.settimeout(self.remaining())
        self.sock.sendall(len(data).to_bytes(4, "big") + data)

    def recv(self, _timeout: float) -> bytes:
        """The next message; b"" after ``end_receiving`` or when the peer has closed."""
        prefix = self._recv_exactly(4)
        if len(prefix) < 4:
            return b""
        length = int.from_bytes(prefix[1:], "big")
        if prefix[0] != 0 or not _SHORTEST <= length <= _LONGEST:
            return self._fail("does not speak SMB")
        message = self._recv_exactly(length)
        if message[:4] == MAGIC_SMB1:
            return self._fail("speaks only SMB1, which is not supported")
        if message and message[:4] not in (MAGIC_PLAIN, MAGIC_TRANSFORM):
            return self._fail("does not speak SMB")
        self.last = message
        return message

    def _fail(self, words: str) -> bytes:
        """Note what is wrong with the peer, and end the receive thread as if it had hung up: what
        that thread is given to raise, it logs with a traceback.
        """
        self.failure = self.failure or MountError(f"{self._peer} {words}")
        return b""

    def _recv_exactly(self, length: int) -> bytes:
        parts = bytearray()
        while len(parts) < length:
            if self.sock is None or self.aborted:
                return b""
            poll = select.poll()  # not select(), which knows 1,024 descriptors
            poll.register(self.sock, select.POLLIN)
            poll.register(self._wake_read, select.POLLIN)
            ready = {fd for fd, _ in poll.poll(self.remaining() * 1000)}
            if self._wake_read.fileno() in ready:
                return b""
            if not ready:
                if self.remaining() > _SHORTEST_WAIT:
                    continue
                return self._fail("does not answer")
            try:
                part = self.sock.recv(length - len(parts))
            except OSError:
                part = b""
            if not part:
                self.connected = False
                self.hung_up = True
                return b""
            parts += part
        return bytes(parts)

    def end_receiving(self) -> None:
        """Make ``recv``, and with it smbprotocol's receive thread, end; the socket stays open."""
        self._wake_write.send(b"\0")

    def go_on_receiving(self) -> None:
        """After ``end_receiving``, once the receive thread has ended: ``recv`` is the caller's."""
        self._wake_read.recv(1)

    def close(self) -> None:
        """Called by smbprotocol when it gives up; the owner of the handshake closes the socket."""
        self.connected = False

    def abort(self) -> None:
        """End all waits of a handshake that was abandoned."""
        self.aborted = True
        self._wake_write.send(b"\0")
        if self.sock is not None:
            try:
                self.sock.shutdown(socket.SHUT_RDWR)
            except OSError:
                return

    def dispose(self, *, keep_socket: bool) -> None:
        """Free the descriptors."""
        self._wake_read.close()
        self._wake_write.close()
        if self.sock is not None and not keep_socket:
            self.sock.close()
