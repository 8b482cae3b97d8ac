"""A null session (``sec=none``): NTLMSSP without a user ([MS-NLMP] 3.2.5.1.2).

pyspnego has no anonymous login, so the two messages are made here and sent through smbprotocol's
session setup. Such a session has no key: it can neither sign nor encrypt.
"""

from __future__ import annotations

import struct

from smbprotocol.connection import Capabilities, Connection
from smbprotocol.exceptions import MoreProcessingRequired
from smbprotocol.session import Session, SMB2SessionSetupRequest

_SIGNATURE = b"NTLMSSP\0"
_FLAGS = 0x00088A01  # unicode, NTLM, anonymous, always sign, extended session security
_NEGOTIATE = _SIGNATURE + struct.pack("<II16x", 1, _FLAGS | 0x4)
_AUTHENTICATE_SIZE = 64


def _authenticate() -> bytes:
    """AUTHENTICATE_MESSAGE whose only field is the one zero byte of an anonymous LM response."""
    end = _AUTHENTICATE_SIZE
    lm = struct.pack("<HHI", 1, 1, end)
    empty = struct.pack("<HHI", 0, 0, end + 1)
    return _SIGNATURE + struct.pack("<I", 3) + lm + empty * 5 + struct.pack("<I", _FLAGS) + b"\0"


class AnonymousSession(Session):  # type: ignore[misc]
    """A session that logs in without a user."""

    def __init__(self, connection: Connection) -> None:
        super().__init__(connection, "", "", require_encryption=False)
        self.session_id: int = 0

    def connect(self) -> None:
        """Two SESSION_SETUP exchanges. Raises smbprotocol's exceptions, as the base does."""
        for token in (_NEGOTIATE, _authenticate()):
            setup = SMB2SessionSetupRequest()
            setup["capabilities"] = Capabilities.SMB2_GLOBAL_CAP_DFS
            setup["security_mode"] = self.connection.client_security_mode
            setup["buffer"] = token
            request = self.connection.send(setup, sid=self.session_id, credit_request=64)
            try:
                reply = self.connection.receive(request)
            except MoreProcessingRequired as more:
                reply = more.header
            self.session_id = reply["session_id"].get_value()
        self._connected = True
        self.connection.session_table[self.session_id] = self
        self.encrypt_data = False
        self.signing_required = False
