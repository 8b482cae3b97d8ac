"""What a handshake ends in: the facts of a connection that the trio loop takes over."""

from __future__ import annotations

import socket
from dataclasses import dataclass

from netfsfuse.smb.connection.clock import Reading
from netfsfuse.smb.connection.crypto import Sealer, Signer


@dataclass(frozen=True, slots=True)
class Protection:
    """How well a connection is protected. The first of a mount sets what later ones must have."""

    dialect: int = 0
    keyed: bool = False  # the login gave a key
    signed: bool = False  # all is signed
    sealed: bool = False  # all is encrypted


@dataclass(slots=True)
class HandshakeResult:
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
    clock: Reading
    """The server's time, as it stated it."""
    leasing: bool = False
    """The server grants leases."""
    max_write: int = 65536
    """Bytes that one WRITE may bring."""
    writable: bool = True
    """It lets this user write somewhere in the share."""

    @property
    def protection(self) -> Protection:
        """What another connection in place of this one must have."""
        return Protection(
            self.dialect,
            keyed=self.signer is not None or self.sealer is not None,
            signed=self.sign_requests,
            sealed=self.sealer is not None,
        )
