"""smbprotocol, blocking, in a worker thread: from a TCP connection to a connected tree.

smbprotocol negotiates, authenticates, derives the keys and connects the tree over
:class:`HandshakeTransport`, a look-alike of its own ``Tcp`` whose every wait ends at one deadline
and which can be told to stop receiving. Then smbprotocol's receive thread ends, and the socket, the
keys, the next MessageId and the credits on hand go to the trio loop as :class:`Established`.
Nothing is under way at that moment: every exchange before it was awaited.
"""

from __future__ import annotations

import logging
import socket
import threading
import time
import uuid
from datetime import UTC
from typing import Any

from smbprotocol.connection import Capabilities, Connection, Dialects
from smbprotocol.exceptions import (
    SMBAuthenticationError,
    SMBConnectionClosed,
    SMBException,
    SMBResponseException,
)
from smbprotocol.session import Session
from smbprotocol.tree import TreeConnect

from netfsfuse.config import ServerConfig
from netfsfuse.errors import AccessDenied, Disconnected, MountError
from netfsfuse.smb import status
from netfsfuse.smb.anonymous import AnonymousSession
from netfsfuse.smb.clock import Reading, boottime
from netfsfuse.smb.crypto import CipherId, Sealer, Signer, SigningAlgorithm
from netfsfuse.smb.established import Established
from netfsfuse.smb.handshake_transport import HandshakeTransport
from netfsfuse.smb.wire.header import MAGIC_SMB1

# Its receive thread logs with a traceback what it raises in the thread that waits as well.
logging.getLogger("smbprotocol.connection").setLevel(logging.CRITICAL)

_DIALECTS = {
    "2.1": Dialects.SMB_2_1_0,
    "3.0": Dialects.SMB_3_0_0,
    "3.0.2": Dialects.SMB_3_0_2,
    "3.1.1": Dialects.SMB_3_1_1,
}


class _Connection(Connection):  # type: ignore[misc]
    """smbprotocol's connection on our transport, remembering the server's clock."""

    def __init__(self, ours: HandshakeTransport, host: str, port: int, sign: bool) -> None:
        self._ours = ours
        self.clock = Reading(0.0, 0.0, 0.0)
        super().__init__(uuid.uuid4(), host, port, require_signing=sign)
        self.client_capabilities |= Capabilities.SMB2_GLOBAL_CAP_LEASING

    @property
    def transport(self) -> HandshakeTransport:
        return self._ours

    @transport.setter
    def transport(self, _theirs: object) -> None:
        """smbprotocol assigns a Tcp of its own here; ours stays."""

    def _send_smb2_negotiate(self, *arguments: Any) -> Any:
        asked = boottime()
        reply = super()._send_smb2_negotiate(*arguments)
        stated = reply["system_time"].get_value()
        self.clock = Reading(stated.replace(tzinfo=UTC).timestamp(), asked, boottime())
        return reply


class Handshake:
    """One attempt to connect. ``run`` blocks, in a thread; ``abandon`` ends it early."""

    def __init__(self, config: ServerConfig) -> None:
        self._config = config
        self._transport = HandshakeTransport(time.monotonic() + config.connect_timeout)
        self._lock = threading.Lock()
        self._done = False
        self._unwanted = False
        self._negotiated = False

    def abandon(self) -> None:
        """Nobody takes the outcome: end ``run`` soon, with an error, or close the connection that
        it has made. From any thread, at any time.
        """
        with self._lock:
            self._unwanted = True
            if not self._done:
                self._transport.abort()
            elif self._transport.sock is not None:
                self._transport.sock.close()

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
            with self._lock:
                self._done = True
                self._transport.dispose(keep_socket=keep and not self._unwanted)

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
        if isinstance(failed, ImportError):  # pyspnego loads Kerberos only when it is asked for
            return MountError(f"{text}; sec=krb5 needs the extra netfsfuse[kerberos]")
        if not self._negotiated and self._speaks_smb1():
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
            asked = connection.client_security_mode
            connection.connect(dialect=dialect, timeout=timeout)
            # smbprotocol changes it where the server demands signing, and then states in
            # FSCTL_VALIDATE_NEGOTIATE_INFO what it never sent: Samba hangs up (2.1 to 3.0.2).
            connection.client_security_mode = asked
            self._negotiated = True
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
            clock=connection.clock,
            leasing=connection.server_capabilities.has_flag(Capabilities.SMB2_GLOBAL_CAP_LEASING),
        )


def _signing_algorithm(connection: Any) -> SigningAlgorithm:
    if connection.dialect >= 0x311 and connection.signing_algorithm_id is not None:
        return SigningAlgorithm(connection.signing_algorithm_id)
    if connection.dialect >= 0x300:
        return SigningAlgorithm.AES_CMAC
    return SigningAlgorithm.HMAC_SHA256


def _one_line(failed: BaseException) -> str:
    return " ".join(str(failed).split()) or type(failed).__name__
