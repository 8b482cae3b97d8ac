"""SMB2 WRITE and FLUSH ([MS-SMB2] 2.2.17, 2.2.21, 2.2.22)."""

from __future__ import annotations

import struct

from netfsfuse.errors import ProtocolError
from netfsfuse.smb.wire.header import HEADER_SIZE

_REQUEST = struct.Struct("<HHIQ16sIIHHI")
_REPLY = struct.Struct("<HHII")
_FLUSH = struct.Struct("<HHI16s")

REQUEST_OVERHEAD = HEADER_SIZE + _REQUEST.size
"""Bytes from the start of a request to its payload: 112."""


def pack_write(handle: bytes, start: int, length: int) -> bytes:
    """What stands before the payload in the body of a WRITE to ``[start, start + length)``."""
    return _REQUEST.pack(49, REQUEST_OVERHEAD, length, start, handle, 0, 0, 0, 0, 0)


def parse_write(message: memoryview) -> int:
    """How many bytes were taken, by a successful WRITE reply."""
    if len(message) < HEADER_SIZE + _REPLY.size:
        raise ProtocolError("a WRITE reply is too short")
    count: int = _REPLY.unpack_from(message, HEADER_SIZE)[2]
    return count


def pack_flush(handle: bytes) -> bytes:
    """Body of a FLUSH. Its reply says nothing."""
    return _FLUSH.pack(24, 0, 0, handle)
