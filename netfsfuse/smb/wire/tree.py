"""SMB2 TREE_CONNECT ([MS-SMB2] 2.2.9, 2.2.10) and FSCTL_VALIDATE_NEGOTIATE_INFO (2.2.31.4,
2.2.32.6), the last messages of a handshake."""

from __future__ import annotations

import struct
from collections.abc import Sequence
from typing import NamedTuple

from netfsfuse.errors import ProtocolError
from netfsfuse.smb.wire.header import HEADER_SIZE

SHARE_DISK = 1
SHARE_PIPE = 2
SHARE_PRINT = 3

_SHARE_ENCRYPT = 0x8000
_WRITES = 0x50000006
"""GENERIC_ALL, GENERIC_WRITE, FILE_APPEND_DATA, FILE_WRITE_DATA."""
_VALIDATE_NEGOTIATE_INFO = 0x00140204
_IS_FSCTL = 1

_TREE_ID = struct.Struct("<I")
_TREE_ID_AT = 36
_CONNECT = struct.Struct("<HHHH")
_CONNECTED = struct.Struct("<HBBIII")
_IOCTL = struct.Struct("<HHI16sIIIIIIII")
_IOCTL_REPLY = struct.Struct("<HHI16sIIIIII")
_CLIENT = struct.Struct("<I16sHH")
_SERVER = struct.Struct("<I16sHH")


class Tree(NamedTuple):
    """A connected share: its kind is one of ``SHARE_...``; ``sealed``: it wants encryption;
    ``writable``: the server lets this user write somewhere in it."""

    tree_id: int
    kind: int
    sealed: bool
    writable: bool


class Negotiated(NamedTuple):
    """One side of a NEGOTIATE. ``dialects``: all the client offered, or the one of the server."""

    capabilities: int
    guid: bytes
    security_mode: int
    dialects: Sequence[int]


def pack_tree_connect(path: str) -> bytes:
    r"""Body of a request for ``path``, ``\\HOST\SHARE``."""
    name = path.encode("utf-16-le", "surrogatepass")
    return _CONNECT.pack(9, 0, HEADER_SIZE + _CONNECT.size, len(name)) + name


def parse_tree_connect(message: memoryview) -> Tree:
    """A successful reply. Raises ProtocolError when it is not one."""
    if len(message) < HEADER_SIZE + _CONNECTED.size:
        raise ProtocolError("a TREE_CONNECT reply is too short")
    (tree_id,) = _TREE_ID.unpack_from(message, _TREE_ID_AT)
    size, kind, _, flags, _, access = _CONNECTED.unpack_from(message, HEADER_SIZE)
    if size != _CONNECTED.size:
        raise ProtocolError("a TREE_CONNECT reply of another shape")
    # No right at all is what a server says that does not tell them: it let us in.
    writable = not access or bool(access & _WRITES)
    return Tree(tree_id, kind, bool(flags & _SHARE_ENCRYPT), writable)


def pack_validate_negotiate(client: Negotiated) -> bytes:
    """Body telling the server what the client had sent in its NEGOTIATE."""
    count = len(client.dialects)
    sent = _CLIENT.pack(client.capabilities, client.guid, client.security_mode, count)
    sent += struct.pack(f"<{count}H", *client.dialects)
    at = HEADER_SIZE + _IOCTL.size
    room = _SERVER.size
    return (
        _IOCTL.pack(
            *(57, 0, _VALIDATE_NEGOTIATE_INFO, b"\xff" * 16),
            *(at, len(sent), 0, 0, 0, room, _IS_FSCTL, 0),
        )
        + sent
    )


def parse_validate_negotiate(message: memoryview) -> Negotiated:
    """What the server says that it had answered. Raises ProtocolError when it says nothing."""
    if len(message) < HEADER_SIZE + _IOCTL_REPLY.size:
        raise ProtocolError("a VALIDATE_NEGOTIATE_INFO reply is too short")
    _, _, code, _, _, _, offset, length, _, _ = _IOCTL_REPLY.unpack_from(message, HEADER_SIZE)
    if (
        code != _VALIDATE_NEGOTIATE_INFO
        or length != _SERVER.size
        or offset < HEADER_SIZE + _IOCTL_REPLY.size
        or offset + length > len(message)
    ):
        raise ProtocolError("a VALIDATE_NEGOTIATE_INFO reply of another shape")
    capabilities, guid, security_mode, dialect = _SERVER.unpack_from(message, offset)
    return Negotiated(capabilities, guid, security_mode, [dialect])
