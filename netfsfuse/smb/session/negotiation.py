"""smbprotocol's connection, told what to offer and over which transport."""

from __future__ import annotations

import uuid
from datetime import UTC
from typing import Any

from smbprotocol.connection import (
    Capabilities,
    Connection,
    Dialects,
    SMB3NegotiateRequest,
)
from smbprotocol.session import SMB2SessionSetupRequest

from netfsfuse.errors import MountError
from netfsfuse.smb.connection.clock import Reading, boottime
from netfsfuse.smb.session.handshake_transport import HandshakeTransport
from netfsfuse.smb.wire.header import HEADER_SIZE
from netfsfuse.smb.wire.tree import Negotiated

DIALECTS = {
    "2.1": Dialects.SMB_2_1_0,
    "3.0": Dialects.SMB_3_0_0,
    "3.0.2": Dialects.SMB_3_0_2,
    "3.1.1": Dialects.SMB_3_1_1,
}
_NEWEST = Dialects.SMB_3_1_1
_FIXED_SIZE = 36  # of a NEGOTIATE request, before the dialects


class NegotiatedConnection(Connection):  # type: ignore[misc]
    """smbprotocol's connection on our transport, remembering the server's clock.

    ``dialects`` and no others are offered: smbprotocol would offer 2.0.2 as well, which can neither
    encrypt nor say what was negotiated. The server ends ``previous_session``, if it still has that,
    before the new one begins: what it may yet receive of that is not done any more.
    """

    def __init__(
        self,
        ours: HandshakeTransport,
        host: str,
        port: int,
        *,
        sign: bool,
        dialects: list[int],
        client_guid: uuid.UUID,
        previous_session: int,
    ) -> None:
        self._ours = ours
        self.clock = Reading(0.0, 0.0, 0.0)
        super().__init__(client_guid, host, port, require_signing=sign)
        self.client_capabilities |= Capabilities.SMB2_GLOBAL_CAP_LEASING
        self._offer = dialects
        self._previous_session = previous_session
        self._sent_mode: int = self.client_security_mode

    @property
    def transport(self) -> HandshakeTransport:
        return self._ours

    @transport.setter
    def transport(self, _theirs: object) -> None:
        """smbprotocol assigns a Tcp of its own here; ours stays."""

    def negotiate(self, timeout: float) -> None:
        """NEGOTIATE. Raises what smbprotocol raises, and MountError where the server chose what
        was not offered."""
        alone = self._offer[0] if len(self._offer) == 1 else None
        self.connect(dialect=alone, timeout=timeout)
        # smbprotocol changes it where the server demands signing; the session's login has to state
        # what was sent.
        self.client_security_mode = self._sent_mode
        if self.dialect not in self._offer:
            old = self.dialect == Dialects.SMB_2_0_2 and Dialects.SMB_2_1_0 in self._offer
            raise MountError(
                f"{self.server_name} speaks only SMB 2.0.2, which is not supported"
                if old
                else f"{self.server_name} chose SMB dialect 0x{self.dialect:04X}, which was not"
                " offered"
            )

    def send(self, message: Any, *arguments: Any, **more: Any) -> Any:
        if isinstance(message, SMB3NegotiateRequest):
            self._limit(message)
        elif isinstance(message, SMB2SessionSetupRequest):
            message["previous_session_id"] = self._previous_session
        return super().send(message, *arguments, **more)

    def _limit(self, message: SMB3NegotiateRequest) -> None:
        """Take out what is not to be offered; the contexts behind begin at a multiple of 8."""
        self.negotiated_dialects = message["dialects"] = list(self._offer)
        end = HEADER_SIZE + _FIXED_SIZE + 2 * len(self._offer)
        padding = -end % 8
        message["padding"].size = padding
        message["padding"] = bytes(padding)
        message["negotiate_context_offset"] = end + padding

    def _send_smb2_negotiate(self, *arguments: Any) -> Any:
        asked = boottime()
        reply = super()._send_smb2_negotiate(*arguments)
        stated = reply["system_time"].get_value()
        self.clock = Reading(stated.replace(tzinfo=UTC).timestamp(), asked, boottime())
        return reply

    @property
    def client_side(self) -> Negotiated:
        """What we have sent."""
        return Negotiated(
            int(self.client_capabilities),
            self.client_guid.bytes,
            int(self._sent_mode),
            [int(dialect) for dialect in self.negotiated_dialects],
        )

    @property
    def server_side(self) -> Negotiated:
        """What came back, which may have been changed on the way."""
        return Negotiated(
            int(self.server_capabilities.get_value()),
            self.server_guid.bytes,
            int(self.server_security_mode),
            [int(self.dialect)],
        )
