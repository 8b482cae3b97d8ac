"""One request, one reply, blocking: how a handshake ends, with a session there already.

smbprotocol takes an unsigned reply for a signed one, and a plain one in an encrypted session. So
once the login has given a key, no message goes through it any more: what decides on encryption and
on what was negotiated is proved here, on the bytes as they came.
"""

from __future__ import annotations

from netfsfuse.errors import Disconnected, ProtocolError
from netfsfuse.smb.connection.crypto import TRANSFORM_SIZE, Sealer, Signer
from netfsfuse.smb.session.handshake_transport import HandshakeTransport
from netfsfuse.smb.wire.header import (
    FLAG_SIGNED,
    HEADER_SIZE,
    MAGIC_TRANSFORM,
    Command,
    Header,
    pack_header,
    parse_header,
)

_INTERIMS = 16  # "not yet" answers to one request: Samba sends one


class Lockstep:
    """The connection of a handshake whose session ``session_id`` has logged in.

    ``sealer``: everything is encrypted, both ways. Else ``signer``: everything is signed, both
    ways. Neither: the session has no key. May be set between two questions. ``transport`` is not
    read by any other.
    """

    def __init__(
        self,
        transport: HandshakeTransport,
        session_id: int,
        *,
        next_message_id: int,
        credits: int,
        multi_credit: bool,
    ) -> None:
        self.signer: Signer | None = None
        self.sealer: Sealer | None = None
        self.next_message_id = next_message_id
        self.credits = credits
        self._transport = transport
        self._session_id = session_id
        self._charge = 1 if multi_credit else 0

    def ask(self, command: Command, body: bytes, tree_id: int = 0) -> tuple[Header, memoryview]:
        """The final reply, proved: its header, and the whole message.

        Raises ProtocolError when it is not what the session demands, Disconnected or the
        transport's own error when none comes.
        """
        if self.credits < 1:
            raise ProtocolError(f"the server lets nobody ask for {command.name}: no credits")
        message_id = self.next_message_id
        self.next_message_id += 1
        self.credits -= 1
        self._transport.send(self._pack(command, body, tree_id, message_id))
        for _ in range(_INTERIMS):
            message = self._receive(command)
            header = parse_header(message)
            if header.message_id != message_id or header.command != command or header.next_command:
                raise ProtocolError(f"an answer to something else than {command.name}")
            self.credits += header.credits
            if not header.is_interim:
                if self.sealer is None and self.signer is not None:
                    verify(self.signer, header, message)
                return header, message
        raise ProtocolError(f"{command.name} is never answered")

    def _pack(self, command: Command, body: bytes, tree_id: int, message_id: int) -> bytes:
        signer = self.signer if self.sealer is None else None
        header = pack_header(
            command=command,
            charge=self._charge,
            credit_request=1,
            flags=FLAG_SIGNED if signer is not None else 0,
            next_command=0,
            message_id=message_id,
            tree_id=tree_id,
            session_id=self._session_id,
        )
        message = bytearray(header + body)
        if signer is not None:
            signer.sign(message)
        return bytes(message) if self.sealer is None else self.sealer.seal(message)

    def _receive(self, command: Command) -> memoryview:
        raw = self._transport.recv(0.0)
        if not raw:
            raise self._transport.failure or Disconnected("the server closed the connection")
        if self.sealer is None:
            return memoryview(bytearray(raw))
        if raw[:4] != MAGIC_TRANSFORM or len(raw) < TRANSFORM_SIZE + HEADER_SIZE:
            raise ProtocolError(f"the answer to {command.name} is not encrypted")
        transform = memoryview(raw)[:TRANSFORM_SIZE]
        return memoryview(self.sealer.unseal(transform, bytearray(raw[TRANSFORM_SIZE:])))


def verify(signer: Signer, header: Header, message: memoryview) -> None:
    """Raise ProtocolError unless ``message``, which begins with ``header``, is signed, and well.
    Zeroes its signature."""
    if not header.flags & FLAG_SIGNED:
        raise ProtocolError(f"the answer to {Command(header.command).name} is not signed")
    signer.verify(message)
