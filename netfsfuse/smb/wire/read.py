"""SMB2 READ ([MS-SMB2] 2.2.19, 2.2.20)."""

from __future__ import annotations

import struct

from netfsfuse.errors import ProtocolError
from netfsfuse.smb.wire.header import HEADER_SIZE

_REQUEST = struct.Struct("<HBBIQ16sIIIHHB")
_REPLY = struct.Struct("<HBBIII")

REPLY_OVERHEAD = HEADER_SIZE + _REPLY.size
"""Bytes from the start of a reply to its payload, as every known server lays it out: 80."""


def pack_read(file_id: bytes, start: int, length: int) -> bytes:
    """Body of a READ of ``[start, start + length)``; DataOffset asks for payload at byte 80."""
    return _REQUEST.pack(49, REPLY_OVERHEAD, 0, length, start, file_id, 0, 0, 0, 0, 0, 0)


def parse_read(message: memoryview) -> tuple[int, int]:
    """``(offset, length)`` of the payload within ``message``, checked against its end."""
    if len(message) < REPLY_OVERHEAD:
        raise ProtocolError("a READ reply is too short")
    size, offset, _, length, _, _ = _REPLY.unpack_from(message, HEADER_SIZE)
    if size != 17 or (length and offset < REPLY_OVERHEAD) or offset + length > len(message):
        raise ProtocolError("a READ reply points outside itself")
    return offset, length
