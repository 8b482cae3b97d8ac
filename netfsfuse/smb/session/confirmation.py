"""Below 3.1.1 a NEGOTIATE is protected by nothing: so it is confirmed once there is a key."""

from __future__ import annotations

from netfsfuse.errors import Disconnected, ProtocolError
from netfsfuse.smb import status
from netfsfuse.smb.session.lockstep import Lockstep
from netfsfuse.smb.wire.header import Command
from netfsfuse.smb.wire.tree import Negotiated, pack_validate_negotiate, parse_validate_negotiate


def confirm(line: Lockstep, client: Negotiated, server: Negotiated, tree_id: int) -> None:
    """Ask the server, proved by the session's key, what it was sent and what it answered.

    Raises ProtocolError unless that is what we have sent and what we have seen. A server that is
    too old to know says so, proved as well ([MS-SMB2] 3.2.5.14.12); one that was sent something
    else hangs up.
    """
    try:
        header, message = line.ask(Command.IOCTL, pack_validate_negotiate(client), tree_id)
    except Disconnected:
        raise ProtocolError(
            "it was asked to confirm the negotiation, and hung up: it may have been tampered"
            " with on the way"
        ) from None
    if header.status == status.ACCESS_DENIED:
        raise ProtocolError("the server does not confirm what was negotiated")
    if header.status == status.SUCCESS and parse_validate_negotiate(message) != server:
        raise ProtocolError("what was negotiated was changed on the way")
