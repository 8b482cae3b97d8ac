"""SMB2 CREATE and CLOSE ([MS-SMB2] 2.2.13 to 2.2.16) as a read-only client needs them."""

from __future__ import annotations

import struct
from typing import NamedTuple

from netfsfuse.errors import ProtocolError
from netfsfuse.smb.wire.header import HEADER_SIZE
from netfsfuse.smb.wire.query import file_id_of
from netfsfuse.types import FileAttr

FILE_READ_DATA = 0x01  # FILE_LIST_DIRECTORY for a directory
FILE_READ_ATTRIBUTES = 0x80
SYNCHRONIZE = 0x100000

FILE_DIRECTORY_FILE = 0x01
FILE_NON_DIRECTORY_FILE = 0x40
FILE_OPEN_REPARSE_POINT = 0x200000

_SHARE_ALL = 0x07  # read, write and delete: we never stand in another client's way
_FILE_OPEN = 1
_IMPERSONATION = 2

_CREATE = struct.Struct("<HBBIQQIIIIIHHII")
_CONTEXT = struct.Struct("<IHHHHI")
_REPLY = struct.Struct("<HBBIQQQQQQII16sII")
_CLOSE = struct.Struct("<HHI16s")
_NAME_OFFSET = HEADER_SIZE + _CREATE.size

_QFID = _CONTEXT.pack(0, 16, 4, 0, 24, 0) + b"QFid" + bytes(4)
"""SMB2_CREATE_QUERY_ON_DISK_ID ([MS-SMB2] 2.2.13.2.9): the reply brings FileId and VolumeId."""


class Created(NamedTuple):
    """What a CREATE reply says. ``handle`` is the SMB2 FileId, 16 opaque bytes."""

    handle: bytes
    attr: FileAttr
    volume_id: int


def pack_create(name: str, *, access: int, options: int) -> bytes:
    """Body of a CREATE that opens what exists. ``name`` is the server's: ``a\\b``, "" the root."""
    encoded = name.encode("utf-16-le", "surrogatepass")
    end = _NAME_OFFSET + len(encoded)
    padding = -end % 8
    body = _CREATE.pack(
        57,
        0,
        0,
        _IMPERSONATION,
        0,
        0,
        access,
        0,
        _SHARE_ALL,
        _FILE_OPEN,
        options,
        _NAME_OFFSET,
        len(encoded),
        end + padding,
        len(_QFID),
    )
    return b"".join((body, encoded, bytes(padding), _QFID))


def parse_create(message: memoryview) -> Created:
    """A successful CREATE reply. ``attr.file_id`` is 0 when the server sends no QFid context."""
    if len(message) < HEADER_SIZE + _REPLY.size:
        raise ProtocolError("a CREATE reply is too short")
    fields = _REPLY.unpack_from(message, HEADER_SIZE)
    creation, access, write, change, allocation, size, attributes = fields[4:11]
    disk_id, volume_id = _query_on_disk_id(message, fields[13], fields[14])
    file_id = file_id_of(disk_id)
    attr = FileAttr(file_id, creation, access, write, change, size, allocation, attributes)
    return Created(fields[12], attr, volume_id)


def _query_on_disk_id(message: memoryview, offset: int, length: int) -> tuple[int, int]:
    """``(DiskFileId, VolumeId)`` from the create contexts at ``offset``; zeros when absent."""
    contexts = message[offset : offset + length]
    if len(contexts) != length:
        raise ProtocolError("CREATE contexts reach outside the reply")
    while len(contexts) >= _CONTEXT.size:
        following, name_at, name_length, _, data_at, data_length = _CONTEXT.unpack_from(contexts)
        name = bytes(contexts[name_at : name_at + name_length])
        if name == b"QFid" and data_length >= 16 and data_at + 16 <= len(contexts):
            return struct.unpack_from("<QQ", contexts, data_at)
        if not following:
            break
        contexts = contexts[following:]
    return 0, 0


def pack_close(handle: bytes) -> bytes:
    """Body of a CLOSE that wants no attributes back."""
    return _CLOSE.pack(24, 0, 0, handle)
