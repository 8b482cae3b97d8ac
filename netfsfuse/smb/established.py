"""What a handshake ends in: the facts of a connection that the trio loop takes over."""

from __future__ import annotations

import socket
from dataclasses import dataclass

from netfsfuse.smb.clock import Reading
from netfsfuse.smb.crypto import Sealer, Signer


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
    clock: Reading
    """The server's time, as it stated it."""
    leasing: bool = False
    """The server grants leases."""
