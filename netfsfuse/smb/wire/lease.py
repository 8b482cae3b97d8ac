"""Leases: the create context, the break and its acknowledgement ([MS-SMB2] 2.2.13.2.8,
2.2.13.2.10, 2.2.23.2, 2.2.24.2)."""

from __future__ import annotations

import struct
from typing import NamedTuple

from netfsfuse.errors import ProtocolError
from netfsfuse.smb.wire.header import HEADER_SIZE

READ = 1
HANDLE = 2
WRITE = 4
READ_HANDLE = READ | HANDLE
READ_WRITE_HANDLE = READ_HANDLE | WRITE

OPLOCK_LEVEL_LEASE = 0xFF

_KEY = 16
_V1 = struct.Struct("<16sIIQ")
_V2 = struct.Struct("<16sIIQ16sHH")
_CONTEXT = struct.Struct("<IHHHHI")
_BREAK = struct.Struct("<HHI16sIIIII")
_ACKNOWLEDGEMENT = struct.Struct("<HHI16sIQ")
_ACK_REQUIRED = 1


class Break(NamedTuple):
    """The server takes back part of a lease: ``state`` is what is left."""

    key: bytes
    state: int
    must_acknowledge: bool


def pack_lease_context(key: bytes, state: int, *, version: int) -> bytes:
    """An SMB2_CREATE_REQUEST_LEASE (``version`` 1, SMB 2.1) or _V2 (3.x), without a following
    one."""
    data = (
        _V1.pack(key, state, 0, 0)
        if version == 1
        else _V2.pack(key, state, 0, 0, bytes(_KEY), 0, 0)
    )
    return _CONTEXT.pack(0, 16, 4, 0, 24, len(data)) + b"RqLs" + bytes(4) + data


def parse_lease_context(data: memoryview) -> int:
    """The state that the server has granted."""
    if len(data) < _V1.size:
        raise ProtocolError("a lease in a CREATE reply is too short")
    state: int = _V1.unpack_from(data)[1]
    return state


def parse_break(message: memoryview) -> Break | None:
    """A lease break; None for an oplock break, of which we have none."""
    if len(message) < HEADER_SIZE + 2:
        raise ProtocolError("a break is too short")
    if message[HEADER_SIZE] != _BREAK.size:
        return None
    if len(message) < HEADER_SIZE + _BREAK.size:
        raise ProtocolError("a lease break is too short")
    _, _, flags, key, _, state, *_ = _BREAK.unpack_from(message, HEADER_SIZE)
    return Break(key, state, bool(flags & _ACK_REQUIRED))


def pack_acknowledgement(key: bytes, state: int) -> bytes:
    """Body of the answer to a break: we are content with ``state``."""
    return _ACKNOWLEDGEMENT.pack(_ACKNOWLEDGEMENT.size, 0, 0, key, state, 0)
