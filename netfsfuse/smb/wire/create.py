"""SMB2 CREATE and CLOSE ([MS-SMB2] 2.2.13 to 2.2.16)."""

from __future__ import annotations

import struct
from typing import NamedTuple

from netfsfuse.errors import NameTooLong, ProtocolError
from netfsfuse.smb.wire.attributes import flags_of
from netfsfuse.smb.wire.filetime import nanoseconds
from netfsfuse.smb.wire.header import HEADER_SIZE, RELATED_FILE_ID
from netfsfuse.smb.wire.lease import OPLOCK_LEVEL_LEASE, parse_lease_context
from netfsfuse.smb.wire.query import file_id_of
from netfsfuse.types import FileAttr

FILE_READ_DATA = 0x01  # FILE_LIST_DIRECTORY for a directory
FILE_WRITE_DATA = 0x02
FILE_APPEND_DATA = 0x04
FILE_READ_ATTRIBUTES = 0x80
FILE_WRITE_ATTRIBUTES = 0x100
DELETE = 0x10000  # to rename as well

FILE_DIRECTORY_FILE = 0x01
FILE_NON_DIRECTORY_FILE = 0x40
FILE_OPEN_REPARSE_POINT = 0x200000

FILE_OPEN = 1  # dispositions: what exists,
FILE_CREATE = 2  # what does not,
FILE_OPEN_IF = 3  # either; and what the reply says was done:
OPENED = 1
CREATED = 2

_SHARE_ALL = 0x07  # read, write and delete: we never stand in another client's way
_FILE_DELETE_ON_CLOSE = 0x1000
_IMPERSONATION = 2

_CREATE = struct.Struct("<HBBIQQIIIIIHHII")
_CONTEXT = struct.Struct("<IHHHHI")
_REPLY = struct.Struct("<HBBIqqqqQQII16sII")
_CLOSE = struct.Struct("<HHI16s")
_CLOSED = struct.Struct("<HHIqqqqQQI")
_POSTQUERY_ATTRIB = 1
_NAME_OFFSET = HEADER_SIZE + _CREATE.size

_QFID = _CONTEXT.pack(0, 16, 4, 0, 24, 0) + b"QFid" + bytes(4)
"""SMB2_CREATE_QUERY_ON_DISK_ID ([MS-SMB2] 2.2.13.2.9): the reply brings FileId and VolumeId."""

_QFID_AND_MORE = _CONTEXT.pack(len(_QFID), 16, 4, 0, 24, 0) + _QFID[_CONTEXT.size :]


class Created(NamedTuple):
    """What a CREATE reply says. ``handle`` is the SMB2 FileId, 16 opaque bytes; ``lease`` the state
    that was granted, 0 for none; ``action`` what was done, ``OPENED``, ``CREATED`` or another;
    ``attributes`` are the bits of which ``attr`` has some."""

    handle: bytes
    attr: FileAttr
    volume_id: int
    lease: int
    action: int = OPENED
    attributes: int = 0


_NAME_END = 0xFFFE
"""Bytes: what the field for a path's length can say."""


def pack_create(
    name: str,
    *,
    access: int,
    options: int,
    lease: bytes = b"",
    disposition: int = FILE_OPEN,
) -> bytes:
    """Body of a CREATE that opens what exists, or as ``disposition`` says. ``name`` is the
    server's: ``a\\b``, "" the root. ``lease``: a create context that asks for one. Raises
    NameTooLong."""
    encoded = name.encode("utf-16-le", "surrogatepass")
    if len(encoded) > _NAME_END:
        raise NameTooLong(f"a path of {len(encoded) // 2} characters")
    end = _NAME_OFFSET + len(encoded)
    padding = -end % 8
    contexts = _QFID_AND_MORE + lease if lease else _QFID
    body = _CREATE.pack(
        57,
        0,
        OPLOCK_LEVEL_LEASE if lease else 0,
        _IMPERSONATION,
        0,
        0,
        access,
        0,
        _SHARE_ALL,
        disposition,
        options,
        _NAME_OFFSET,
        len(encoded),
        end + padding,
        len(contexts),
    )
    return b"".join((body, encoded, bytes(padding), contexts))


def parse_create(message: memoryview) -> Created:
    """A successful CREATE reply. ``attr.file_id`` is 0 when the server sends no QFid context."""
    if len(message) < HEADER_SIZE + _REPLY.size:
        raise ProtocolError("a CREATE reply is too short")
    fields = _REPLY.unpack_from(message, HEADER_SIZE)
    allocation, size, attributes = fields[8:11]
    disk_id, volume_id, lease = _contexts(message, fields[13], fields[14])
    file_id = file_id_of(disk_id)
    times = map(nanoseconds, fields[4:8])
    attr = FileAttr._make((file_id, *times, size, allocation, flags_of(attributes)))
    return Created(fields[12], attr, volume_id, lease, fields[3], attributes)


def _contexts(message: memoryview, offset: int, length: int) -> tuple[int, int, int]:
    """DiskFileId, VolumeId and lease state from the create contexts at ``offset``; zeros when
    absent."""
    disk_id = volume_id = lease = 0
    contexts = message[offset : offset + length]
    if len(contexts) != length:
        raise ProtocolError("CREATE contexts reach outside the reply")
    while len(contexts) >= _CONTEXT.size:
        following, name_at, name_length, _, data_at, data_length = _CONTEXT.unpack_from(contexts)
        name = bytes(contexts[name_at : name_at + name_length])
        if name == b"QFid" and data_length >= 16 and data_at + 16 <= len(contexts):
            disk_id, volume_id = struct.unpack_from("<QQ", contexts, data_at)
        elif name == b"RqLs":
            lease = parse_lease_context(contexts[data_at : data_at + data_length])
        if not following:
            break
        if following < max(_CONTEXT.size, name_at + name_length, data_at + data_length):
            raise ProtocolError("CREATE contexts overlap")
        contexts = contexts[following:]
    return disk_id, volume_id, lease


def only_opens(body: bytes) -> bool:
    """Whether a CREATE's ``body`` opens what exists, and has nothing done when it is closed."""
    disposition, options = _CREATE.unpack_from(body)[9:11]
    return disposition == FILE_OPEN and not options & _FILE_DELETE_ON_CLOSE


def closes_related(body: bytes) -> bool:
    """Whether a CLOSE's ``body`` closes what its own compound has opened."""
    return bool(_CLOSE.unpack_from(body)[3] == RELATED_FILE_ID)


def pack_close(handle: bytes, *, postquery: bool = False) -> bytes:
    """Body of a CLOSE; ``postquery``: that wants the attributes back which the file has then."""
    return _CLOSE.pack(24, _POSTQUERY_ATTRIB if postquery else 0, 0, handle)


def parse_close(message: memoryview, file_id: int) -> FileAttr | None:
    """The attributes in a successful CLOSE reply, None if it states none. ``file_id``: the file's,
    which is not among them."""
    if len(message) < HEADER_SIZE + _CLOSED.size:
        raise ProtocolError("a CLOSE reply is too short")
    _, flags, _, *stamps, allocation, size, attributes = _CLOSED.unpack_from(message, HEADER_SIZE)
    if not flags & _POSTQUERY_ATTRIB:
        return None
    times = map(nanoseconds, stamps)
    return FileAttr._make((file_id, *times, size, allocation, flags_of(attributes)))
