"""smbprotocol, blocking, in a worker thread: from a TCP connection to a connected tree.

smbprotocol negotiates, authenticates and derives the keys over :class:`HandshakeTransport`, a
look-alike of its own ``Tcp`` whose every wait ends at one deadline and which can be told to stop
receiving. Then smbprotocol's receive thread ends, and the rest is ours, in lockstep: the reply that
ended the login is verified, the tree connected, and below 3.1.1 the negotiation confirmed, with
signatures or encryption proved on the bytes as they came (under 3.1.1 the keys themselves come of
the bytes of the negotiation). At last the socket, the keys, the next MessageId and the credits on
hand go to the trio loop as :class:`HandshakeResult`.
Nothing is under way at that moment: every exchange before it was awaited.
"""

from __future__ import annotations

import logging
import socket
import threading
import time
import uuid
from collections.abc import Callable
from typing import Any

from smbprotocol.connection import Capabilities
from smbprotocol.exceptions import (
    SMBAuthenticationError,
    SMBConnectionClosed,
    SMBException,
    SMBResponseException,
)
from smbprotocol.session import Session

from netfsfuse.config import Credentials, ServerConfig
from netfsfuse.errors import Disconnected, LoginRefused, MountError, ProtocolError, Refused
from netfsfuse.smb import status
from netfsfuse.smb.connection.handshake_result import HandshakeResult, Protection
from netfsfuse.smb.session import kerberos
from netfsfuse.smb.session.anonymous import AnonymousSession
from netfsfuse.smb.session.confirmation import confirm
from netfsfuse.smb.session.handshake_transport import HandshakeTransport
from netfsfuse.smb.session.keys import sealer_of, signer_of
from netfsfuse.smb.session.lockstep import Lockstep, verify
from netfsfuse.smb.session.logins import Logins
from netfsfuse.smb.session.negotiation import DIALECTS, NegotiatedConnection
from netfsfuse.smb.wire.header import MAGIC_SMB1, Command, parse_header
from netfsfuse.smb.wire.tree import (
    SHARE_DISK,
    SHARE_PRINT,
    Tree,
    pack_tree_connect,
    parse_tree_connect,
)

# Its receive thread logs with a traceback what it raises in the thread that waits as well.
logging.getLogger("smbprotocol.connection").setLevel(logging.CRITICAL)


class Handshake:
    """One attempt to connect. ``run`` blocks, in a thread; ``abandon`` ends it early.

    ``least`` is what an earlier connection of the same mount had: nothing less is taken.
    ``client_guid``: by which the server knows that connections are one client's.
    ``previous_session``: one that this is in place of, which the server ends; 0 for none.
    ``logins``: what to log in with; None for the configuration's credentials.
    ``reach_timeout``: seconds for NEGOTIATE alone; None: the connect timeout is for all.
    """

    def __init__(
        self,
        config: ServerConfig,
        least: Protection | None = None,
        *,
        client_guid: uuid.UUID | None = None,
        previous_session: int = 0,
        logins: Logins | None = None,
        reach_timeout: float | None = None,
    ) -> None:
        self._config = config
        self._reach_timeout = reach_timeout
        self._go = threading.Event()
        self._logins = logins or Logins(config.credentials)
        self._client_guid = client_guid or uuid.uuid4()
        self._previous_session = previous_session
        self._least = least or Protection()
        self._seal = config.seal or self._least.sealed
        deadline = time.monotonic() + (reach_timeout or config.connect_timeout)
        self._transport = HandshakeTransport(deadline)
        self._lock = threading.Lock()
        self._done = False
        self._unwanted = False
        self._stage = Command.NEGOTIATE

    def abandon(self) -> None:
        """The caller takes no outcome any more: end ``run`` soon, with an error, or close the
        connection that it has made. From any thread, at any time."""
        with self._lock:
            self._unwanted = True
            self._go.set()
            if not self._done:
                self._transport.abort()
            elif self._transport.sock is not None:
                self._transport.sock.close()

    def go_on(self) -> None:
        """Log in, once the server was reached. From any thread."""
        self._go.set()

    def run(self, reached: Callable[[], None] | None = None) -> HandshakeResult:
        """Connect, log in, connect the tree. With ``reached``, which is called when the server has
        answered NEGOTIATE, it waits for :meth:`go_on` before the login.

        Raises MountError, one line for the user: LoginRefused or Refused where asking again is no
        use. Closes the socket unless it returns.
        """
        keep, config = False, self._config
        try:
            self._transport.open(config.address or config.host, config.port, config.host)
            established = self._establish(reached)
            keep = not self._transport.aborted
            return established
        except SMBResponseException as refused:
            raise self._refusal(refused.status) from refused
        except SMBAuthenticationError as failed:
            raise kerberos.failure_of(failed) from failed
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
        at_login = self._stage is Command.SESSION_SETUP
        kind = {
            status.Refusal.TRANSIENT: MountError,
            status.Refusal.PERMANENT: Refused,
            status.Refusal.LOGIN: LoginRefused,
        }[status.refusal_of(code, at_login=at_login)]
        if at_login and self._least.dialect and not status.is_told_of_accounts(code):
            kind = MountError  # it let us in before: a line that alters messages brings such
        if code == status.BAD_NETWORK_NAME:
            return kind(f"there is no share {config.share!r} on {config.host}")
        if self._stage is Command.NEGOTIATE and code == status.NOT_SUPPORTED:
            spoken = config.dialect or "2.1 or later"
            return kind(f"{config.host} does not speak SMB {spoken}")
        words = status.refusal_words(code, at_login=at_login)
        return kind(f"//{config.host}/{config.share}: {words}")

    def _lost(self, failed: Exception) -> MountError:
        config = self._config
        if kerberos.is_own_error(failed):
            return kerberos.failure_of(failed)
        text = _one_line(failed)
        if isinstance(failed, ProtocolError):
            return MountError(f"{config.host}:{config.port}: {text}")
        if "encryption" in text or "signing" in text:
            return Refused(f"//{config.host}/{config.share}: {text}")
        if isinstance(failed, ImportError):  # pyspnego loads Kerberos only when it is asked for
            return MountError(f"{text}; sec=krb5 needs the extra netfsfuse[kerberos]")
        transport = self._transport
        silent = self._stage is Command.NEGOTIATE and not transport.last and not transport.aborted
        if silent and self._speaks_smb1():
            return MountError(f"{config.host} speaks only SMB1, which is not supported")
        if transport.hung_up or isinstance(failed, (SMBConnectionClosed, Disconnected)):
            return MountError(f"{config.host}:{config.port} closed the connection")
        if isinstance(failed, (SMBException, OSError)):
            return MountError(f"{config.host}:{config.port}: {text}")
        return MountError(f"{config.host}:{config.port} gave an answer that cannot be read")

    def _speaks_smb1(self) -> bool:
        """Whether the server answers an SMB1 NEGOTIATE: asked only after SMB2 got no answer."""
        dialect = b"\x02NT LM 0.12\0"
        header = MAGIC_SMB1 + b"\x72" + bytes(4) + b"\x18\x01\x28" + bytes(12) + bytes(8)
        body = b"\0" + len(dialect).to_bytes(2, "little") + dialect
        where = (self._config.address or self._config.host, self._config.port)
        try:
            with socket.create_connection(where, timeout=2.0) as probe:
                probe.sendall((len(header) + len(body)).to_bytes(4, "big") + header + body)
                return probe.recv(8)[4:8] == MAGIC_SMB1
        except OSError:
            return False

    def _establish(self, reached: Callable[[], None] | None) -> HandshakeResult:
        config = self._config
        connection = NegotiatedConnection(
            self._transport,
            config.host,
            config.port,
            sign=config.wants_signing,
            dialects=self._offer(),
            client_guid=self._client_guid,
            previous_session=self._previous_session,
        )
        try:
            # The transport's deadline comes first.
            connection.negotiate(self._transport.remaining() + 5.0)
            if reached is not None:
                reached()
                self._wait_wanted()
            self._stage = Command.SESSION_SETUP
            session = self._login(connection)
        finally:
            self._transport.end_receiving()
            if connection._t_worker is not None:
                connection._t_worker.join()
        self._transport.go_on_receiving()
        line = self._secured(connection, session)
        self._stage = Command.TREE_CONNECT
        tree = self._connect_tree(connection, session, line)
        return self._hand_over(connection, session, line, tree)

    def _wait_wanted(self) -> None:
        self._go.wait(self._config.connect_timeout)
        if self._unwanted or not self._go.is_set():
            raise Disconnected("the connection is not needed")
        if self._reach_timeout is not None:
            self._transport.extend(time.monotonic() + self._config.connect_timeout)

    def _offer(self) -> list[int]:
        """The dialects that are good enough."""
        config = self._config
        asked = [config.dialect] if config.dialect else list(DIALECTS)
        return [DIALECTS[name] for name in asked if DIALECTS[name] >= self._least.dialect]

    def _login(self, connection: Any) -> Any:
        """A session that has logged in, by one password or the other."""
        *others, last = self._logins.candidates()
        for who in others:
            try:
                return self._log_in(connection, who)
            except SMBResponseException as refused:
                if refused.status not in status.PASSWORD_REFUSED:
                    raise
        return self._log_in(connection, last)

    def _log_in(self, connection: Any, who: Credentials) -> Any:
        """A session that has logged in, so smbprotocol believes. What is demanded of it is ours to
        see to: smbprotocol makes no difference between a guest and a failure."""
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
                require_encryption=False,
                auth_protocol=who.mechanism,
            )
            session.signing_required = False
        try:
            session.connect()
        except UnicodeEncodeError:
            raise MountError("the user name or the domain is not text in this locale") from None
        if session.signing_key is None:
            self._check_keyless(who)
        self._logins.worked(who)
        return session

    def _check_keyless(self, who: Credentials) -> None:
        """The server let us in as its guest or without a user: only where that was asked for."""
        config = self._config
        if not (who.guest or who.anonymous):
            raise LoginRefused(
                f"{config.host} does not take this user name and password, and would let"
                f" {who.username or 'anybody'} in as a guest: give guest if that is meant"
            )
        if config.sign or self._seal or self._least.keyed:
            raise Refused(
                f"{config.host} gives this login no key: "
                "a guest's session can neither sign nor encrypt"
            )

    def _secured(self, connection: Any, session: Any) -> Lockstep:
        """The line on which the rest is asked, with the session's keys. The login's last reply is
        verified by them: it says whether all is encrypted."""
        window = connection.sequence_window
        line = Lockstep(
            self._transport,
            session.session_id,
            next_message_id=window["low"],
            credits=window["high"] - window["low"],
            multi_credit=connection.supports_multi_credit,
        )
        if session.signing_key is None:
            return line
        line.signer = signer_of(connection, session)
        last = memoryview(bytearray(self._transport.last))
        header = parse_header(last)
        if header.command != Command.SESSION_SETUP or header.status != status.SUCCESS:
            raise ProtocolError("more was said than the login's answer")
        verify(line.signer, header, last)
        if session.encrypt_data or self._seal:
            line.sealer = sealer_of(connection, session)
        return line

    def _connect_tree(self, connection: Any, session: Any, line: Lockstep) -> Tree:
        config = self._config
        request = pack_tree_connect(f"\\\\{config.host}\\{config.share}")
        # Signed whatever was negotiated: what it is answered decides on encryption, and 3.1.1
        # refuses an unsigned one.
        header, message = line.ask(Command.TREE_CONNECT, request)
        if header.status:
            raise self._refusal(header.status)
        tree = parse_tree_connect(message)
        if tree.kind != SHARE_DISK:
            kind = "a printer" if tree.kind == SHARE_PRINT else "a pipe for other programs"
            raise Refused(f"//{config.host}/{config.share} is {kind}, and holds no files")
        if line.signer is not None:
            if tree.sealed and line.sealer is None and connection.supports_encryption:
                line.sealer = sealer_of(connection, session)
            if connection.dialect < DIALECTS["3.1.1"]:
                confirm(line, connection.client_side, connection.server_side, tree.tree_id)
        return tree

    def _hand_over(
        self, connection: Any, session: Any, line: Lockstep, tree: Tree
    ) -> HandshakeResult:
        sock = self._transport.sock
        if sock is None or not self._transport.connected:
            raise SMBException("the connection was lost")
        signer = line.signer if line.sealer is None else None
        large = connection.supports_multi_credit
        demanded = self._config.wants_signing or connection.require_signing or self._least.signed
        return HandshakeResult(
            sock=sock,
            dialect=connection.dialect,
            session_id=session.session_id,
            tree_id=tree.tree_id,
            next_message_id=line.next_message_id,
            credits=line.credits,
            multi_credit=large,
            max_read=connection.max_read_size if large else 65536,
            max_write=connection.max_write_size if large else 65536,
            max_transact=connection.max_transact_size if large else 65536,
            signer=signer,
            sign_requests=signer is not None and demanded,
            sealer=line.sealer,
            clock=connection.clock,
            leasing=connection.server_capabilities.has_flag(Capabilities.SMB2_GLOBAL_CAP_LEASING),
            writable=tree.writable,
        )


def _one_line(failed: BaseException) -> str:
    return " ".join(str(failed).split()) or type(failed).__name__
