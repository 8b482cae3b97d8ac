"""smbprotocol, blocking, in a worker thread: from a TCP connection to a connected tree.

smbprotocol negotiates, authenticates, derives the keys and connects the tree over
:class:`HandshakeTransport`, a look-alike of its own ``Tcp`` whose every wait ends at one deadline
and which can be told to stop receiving. Then smbprotocol's receive thread ends, and the socket, the
keys, the next MessageId and the credits on hand go to the trio loop as :class:`Established`.
Nothing is under way at that moment: every exchange before it was awaited.
"""

from __future__ import annotations

import logging
import select
import socket
import time
import uuid
from dataclasses import dataclass
from typing import Any

from smbprotocol.connection import Connection, Dialects
from smbprotocol.exceptions import (
    SMBAuthenticationError,
    SMBConnectionClosed,
    SMBException,
    SMBResponseException,
)
from smbprotocol.session import Session
from smbprotocol.tree import TreeConnect

from netfsfuse.config import ServerConfig
from netfsfuse.errors import AccessDenied, Disconnected, MountError, NetfsError
from netfsfuse.smb import status
from netfsfuse.smb.anonymous import AnonymousSession
from netfsfuse.smb.crypto import CipherId, Sealer, Signer, SigningAlgorithm
from netfsfuse.smb.wire.header import MAGIC_PLAIN, MAGIC_SMB1, MAGIC_TRANSFORM

# Its receive thread logs with a traceback what it raises in the thread that waits as well.
logging.getLogger("smbprotocol.connection").setLevel(logging.CRITICAL)

_DIALECTS = {
    "2.1": Dialects.SMB_2_1_0,
    "3.0": Dialects.SMB_3_0_0,
    "3.0.2": Dialects.SMB_3_0_2,
    "3.1.1": Dialects.SMB_3_1_1,
}
_SHORTEST, _LONGEST = 32, 1 << 20
"""Bytes a message of a handshake can have: an SMB1 header to far above any login token."""


@dataclass(slots=True)
class Established:
    """A connection with a session and a tree, ours from here on."""

    sock: socket.socket
    dialect: int
    session_id: int
    tree_id: int
    next_message_id: int
    credits: int
    multi_credit: bool
    max_read: int
    max_transact: int
    signer: Signer | None
    """None: the session has no key (guest, anonymous) or everything is encrypted."""
    sign_requests: bool
    sealer: Sealer | None
    server_clock_offset: float
    """Seconds to add to our clock to get the server's, late by up to one round trip."""


class HandshakeTransport:
    """What smbprotocol's Connection calls its transport, over a socket of ours.

    ``recv`` is called by smbprotocol's receive thread only. All waits end at ``deadline``
    (time.monotonic). ``abort`` may be called from any thread and ends all waits at once.
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

    def remaining(self) -> float:
        """Seconds to the deadline, at least a millisecond."""
        return max(self._deadline - time.monotonic(), 0.001)

    def open(self, address: str, port: int, shown: str) -> None:
        """Connect. Raises MountError in words for the user."""
        self._peer = f"{shown}:{port}"
        try:
            self.sock = socket.create_connection((address, port), timeout=self.remaining())
        except socket.gaierror:
            raise MountError(f"cannot find the host {shown}") from None
        except TimeoutError:
            raise MountError(f"{self._peer} does not answer") from None
        except OSError as failed:
            words = (failed.strerror or str(failed)).lower()
            raise MountError(f"cannot connect to {self._peer}: {words}") from None
        self.sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
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
            ready, _, _ = select.select([self.sock, self._wake_read], [], [], self.remaining())
            if self._wake_read in ready:
                return b""
            if not ready:
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

    def close(self) -> None:
        """Called by smbprotocol when it gives up; the owner of the handshake closes the socket."""
        self.connected = False

    def abort(self) -> None:
        """End all waits of a handshake nobody wants any more."""
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


class _Connection(Connection):  # type: ignore[misc]
    """smbprotocol's connection on our transport, remembering the server's clock."""

    def __init__(self, ours: HandshakeTransport, host: str, port: int, sign: bool) -> None:
        self._ours = ours
        self.server_clock_offset = 0.0
        super().__init__(uuid.uuid4(), host, port, require_signing=sign)

    @property
    def transport(self) -> HandshakeTransport:
        return self._ours

    @transport.setter
    def transport(self, _theirs: object) -> None:
        """smbprotocol assigns a Tcp of its own here; ours stays."""

    def _send_smb2_negotiate(self, *arguments: Any) -> Any:
        reply = super()._send_smb2_negotiate(*arguments)
        self.server_clock_offset = reply["system_time"].get_value().timestamp() - time.time()
        return reply


class Handshake:
    """One attempt to connect. ``run`` blocks, in a thread; ``abort_unless_done`` ends it early."""

    def __init__(self, config: ServerConfig) -> None:
        self._config = config
        self._transport = HandshakeTransport(time.monotonic() + config.connect_timeout)
        self._done = False

    def abort_unless_done(self) -> None:
        """End ``run`` soon, with an error, if it has not ended. From any thread, at any time."""
        if not self._done:
            self._transport.abort()

    def run(self) -> Established:
        """Connect, log in, connect the tree.

        Raises MountError, one line for the user; AccessDenied and Disconnected are among the
        causes (``__cause__``). Closes the socket unless it returns.
        """
        config = self._config
        keep = False
        try:
            self._transport.open(config.address or config.host, config.port, config.host)
            established = self._establish()
            keep = not self._transport.aborted
            return established
        except SMBResponseException as refused:
            raise self._refusal(refused.status) from AccessDenied(str(refused))
        except SMBAuthenticationError as failed:
            raise MountError(f"login failed: {_one_line(failed)}") from failed
        except MountError:
            raise
        except Exception as failed:  # smbprotocol trusts its peer: a bad reply raises anything
            raise self._transport.failure or self._lost(failed) from failed
        finally:
            self._done = True
            self._transport.dispose(keep_socket=keep)

    def _refusal(self, code: int) -> MountError:
        config = self._config
        if code == status.BAD_NETWORK_NAME:
            return MountError(f"there is no share {config.share!r} on {config.host}")
        if code == status.NOT_SUPPORTED and config.dialect:
            return MountError(f"{config.host} does not speak SMB {config.dialect}")
        return MountError(f"//{config.host}/{config.share}: {status.login_failure(code)}")

    def _lost(self, failed: Exception) -> MountError:
        config = self._config
        text = _one_line(failed)
        if "encryption" in text or "signing" in text:
            return MountError(f"//{config.host}/{config.share}: {text}")
        if self._speaks_smb1():
            return MountError(f"{config.host} speaks only SMB1, which is not supported")
        if self._transport.hung_up or isinstance(failed, (SMBConnectionClosed, Disconnected)):
            return MountError(f"{config.host}:{config.port} closed the connection")
        if isinstance(failed, (SMBException, OSError)):
            return MountError(f"{config.host}:{config.port}: {text}")
        return MountError(f"{config.host}:{config.port} gave an answer that cannot be read")

    def _speaks_smb1(self) -> bool:
        """Whether the server answers an SMB1 NEGOTIATE: asked only after SMB2 got no answer."""
        dialect = b"\x02NT LM 0.12\0"
        header = MAGIC_SMB1 + b"\x72" + bytes(4) + b"\x18\x01\x28" + bytes(12) + bytes(8)
        body = b"\0" + len(dialect).to_bytes(2, "little") + dialect
        config = self._config
        try:
            with socket.create_connection(
                (config.address or config.host, config.port), timeout=2.0
            ) as probe:
                probe.sendall((len(header) + len(body)).to_bytes(4, "big") + header + body)
                return probe.recv(8)[4:8] == MAGIC_SMB1
        except OSError:
            return False

    def _establish(self) -> Established:
        config = self._config
        connection = _Connection(self._transport, config.host, config.port, config.sign)
        timeout = self._transport.remaining() + 5.0  # the transport's deadline comes first
        try:
            dialect = _DIALECTS[config.dialect] if config.dialect else None
            connection.connect(dialect=dialect, timeout=timeout)
            session = self._login(connection)
            encrypted = bool(session.encrypt_data)
            if session.signing_key is not None and not encrypted:
                # Under 3.1.1 an unsigned TREE_CONNECT is refused whatever was negotiated.
                session.signing_required = True
            tree = TreeConnect(session, f"\\\\{config.host}\\{config.share}")
            tree.connect(require_secure_negotiate=session.signing_key is not None)
        finally:
            self._transport.end_receiving()
            if connection._t_worker is not None:
                connection._t_worker.join()
        return self._hand_over(connection, session, tree)

    def _login(self, connection: Any) -> Any:
        who = self._config.credentials
        if who.anonymous:
            session = AnonymousSession(connection)
        else:
            username = who.username
            if username and who.domain and "\\" not in username and "@" not in username:
                username = f"{who.domain}\\{username}"
            session = Session(
                connection,
                username,
                who.password,
                require_encryption=self._config.seal,
                auth_protocol=who.mechanism,
            )
        session.connect()
        if session.signing_key is None and (self._config.sign or self._config.seal):
            raise MountError(
                f"{self._config.host} gives this login no key: "
                "a guest's session can neither sign nor encrypt"
            )
        return session

    def _hand_over(self, connection: Any, session: Any, tree: Any) -> Established:
        sock = self._transport.sock
        if sock is None or not self._transport.connected:
            raise SMBException("the connection was lost")
        sealer = signer = None
        if session.encrypt_data or tree.encrypt_data:
            cipher = connection.cipher_id if connection.dialect >= 0x311 else 1
            sealer = Sealer(
                CipherId(cipher),
                session.encryption_key,
                session.decryption_key,
                session.session_id,
            )
        elif session.signing_key is not None:
            signer = Signer(_signing_algorithm(connection), session.signing_key)
        window = connection.sequence_window
        large = connection.supports_multi_credit
        return Established(
            sock=sock,
            dialect=connection.dialect,
            session_id=session.session_id,
            tree_id=tree.tree_connect_id,
            next_message_id=window["low"],
            credits=window["high"] - window["low"],
            multi_credit=large,
            max_read=connection.max_read_size if large else 65536,
            max_transact=connection.max_transact_size if large else 65536,
            signer=signer,
            sign_requests=signer is not None and (self._config.sign or connection.require_signing),
            sealer=sealer,
            server_clock_offset=connection.server_clock_offset,
        )


def _signing_algorithm(connection: Any) -> SigningAlgorithm:
    if connection.dialect >= 0x311 and connection.signing_algorithm_id is not None:
        return SigningAlgorithm(connection.signing_algorithm_id)
    if connection.dialect >= 0x300:
        return SigningAlgorithm.AES_CMAC
    return SigningAlgorithm.HMAC_SHA256


def _one_line(failed: BaseException) -> str:
    return " ".join(str(failed).split()) or type(failed).__name__
