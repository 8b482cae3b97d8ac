"""SMB2 QUERY_DIRECTORY, QUERY_INFO and IOCTL ([MS-SMB2] 2.2.31 to 2.2.38)."""

from __future__ import annotations

import struct

from netfsfuse.errors import ProtocolError
from netfsfuse.smb.wire.attributes import flags_of
from netfsfuse.smb.wire.filetime import nanoseconds
from netfsfuse.smb.wire.header import HEADER_SIZE
from netfsfuse.types import DirEntry, FileAttr, VolumeStat

_DIRECTORY = struct.Struct("<HBBI16sHHI")
_INFO = struct.Struct("<HBBIHHIII16s")
_IOCTL = struct.Struct("<HHI16sIIIIIIII")
_REPLY = struct.Struct("<HHI")
_IOCTL_REPLY = struct.Struct("<HHI16sIIII")

FILE_ID_FULL_DIRECTORY_INFORMATION = 38  # [MS-FSCC] 2.4.18
_ENTRY = struct.Struct("<IIqqqqQQIIIIQ")
_FULL_SIZE = struct.Struct("<QQQII")  # [MS-FSCC] 2.5.4 FileFsFullSizeInformation
_UNIT_MAX = 1 << 31
_BASIC = struct.Struct("<qqqqII")  # [MS-FSCC] 2.4.7 FileBasicInformation
_STANDARD = struct.Struct("<QQIBBH")  # [MS-FSCC] 2.4.41 FileStandardInformation
_INTERNAL = struct.Struct("<Q")
_NO_FILE_ID = 0xFFFFFFFFFFFFFFFF

ALL_ROOM = 4096
"""Bytes of FileAllInformation that are asked for, the beginning of the name with them."""

FSCTL_GET_REPARSE_POINT = 0x000900A8
_READING = frozenset({FSCTL_GET_REPARSE_POINT})


def pack_query_directory(handle: bytes, room: int, *, restart: bool) -> bytes:
    """Body asking for the next entries, all names, in at most ``room`` bytes."""
    pattern = "*".encode("utf-16-le")
    offset = HEADER_SIZE + _DIRECTORY.size
    flags = 0x01 if restart else 0
    head = _DIRECTORY.pack(
        33, FILE_ID_FULL_DIRECTORY_INFORMATION, flags, 0, handle, offset, len(pattern), room
    )
    return head + pattern


def _output(message: memoryview) -> memoryview:
    if len(message) < HEADER_SIZE + _REPLY.size:
        raise ProtocolError("a query reply is too short")
    _, offset, length = _REPLY.unpack_from(message, HEADER_SIZE)
    output = message[offset : offset + length]
    if len(output) != length:
        raise ProtocolError("a query reply points outside itself")
    return output


def file_id_of(stated: int) -> int:
    """The FileId, 0 if there is none: [MS-FSCC] 2.1.10 has two ways of saying so."""
    return 0 if stated == _NO_FILE_ID else stated


def parse_query_directory(message: memoryview) -> list[DirEntry]:
    """The entries of one page, names as the server has them, "." and ".." among them.

    6 us an entry; smbprotocol's structures take 90. Times that are equal, as a file's write and
    change time usually are, are one object: a million inodes hold them.
    """
    output = _output(message)
    raw = bytes(output)
    entries = []
    at, end = 0, len(raw)
    while at < end:
        if at + _ENTRY.size > end:
            raise ProtocolError("a directory entry is cut short")
        (
            following,
            _,
            creation,
            access,
            write,
            change,
            size,
            allocation,
            attributes,
            name_length,
            tag,  # of a reparse point; of other files the size of their extended attributes
            _,
            stated,
        ) = _ENTRY.unpack_from(raw, at)
        name_at = at + _ENTRY.size
        if name_length % 2 or name_at + name_length > end:
            raise ProtocolError("a directory entry's name is cut short")
        written = nanoseconds(write)
        attr = FileAttr(
            0 if stated == _NO_FILE_ID else stated,
            written if creation == write else nanoseconds(creation),
            written if access == write else nanoseconds(access),
            written,
            written if change == write else nanoseconds(change),
            size,
            allocation,
            flags_of(attributes, tag),
        )
        name = raw[name_at : name_at + name_length].decode("utf-16-le", "surrogatepass")
        entries.append(DirEntry(name, attr))
        if not following:
            break
        if following < _ENTRY.size + name_length:
            raise ProtocolError("directory entries overlap")
        at += following
    return entries


def pack_query_full_size(handle: bytes) -> bytes:
    """Body of a QUERY_INFO for FileFsFullSizeInformation."""
    return _INFO.pack(41, 2, 7, _FULL_SIZE.size, 0, 0, 0, 0, 0, handle) + b"\0"


def parse_full_size(message: memoryview) -> VolumeStat:
    """Space on the volume. Raises ProtocolError for a unit in which nothing can be counted."""
    output = _output(message)
    if len(output) < _FULL_SIZE.size:
        raise ProtocolError("a volume size is cut short")
    total, available, free, sectors, sector = _FULL_SIZE.unpack_from(output)
    if not 0 < sectors * sector <= _UNIT_MAX:
        raise ProtocolError(f"a volume with a unit of {sectors * sector} bytes")
    return VolumeStat(sectors * sector, total, free, available)


def pack_query_all(handle: bytes) -> bytes:
    """Body of a QUERY_INFO for FileAllInformation ([MS-FSCC] 2.4.2), its name cut off."""
    return _INFO.pack(41, 1, 18, ALL_ROOM, 0, 0, 0, 0, 0, handle) + b"\0"


def parse_all(message: memoryview) -> FileAttr:
    """Attributes of an open handle."""
    output = _output(message)
    if len(output) < _BASIC.size + _STANDARD.size + _INTERNAL.size:
        raise ProtocolError("file information is cut short")
    creation, access, write, change, attributes, _ = _BASIC.unpack_from(output)
    allocation, size = _STANDARD.unpack_from(output, _BASIC.size)[:2]
    file_id = file_id_of(*_INTERNAL.unpack_from(output, _BASIC.size + _STANDARD.size))
    times = map(nanoseconds, (creation, access, write, change))
    return FileAttr._make((file_id, *times, size, allocation, flags_of(attributes)))


def pack_ioctl(handle: bytes, code: int, room: int) -> bytes:
    """Body of an FSCTL without input that may answer with ``room`` bytes."""
    return _IOCTL.pack(57, 0, code, handle, 0, 0, 0, 0, 0, room, 1, 0) + b"\0"


def only_reads(body: bytes) -> bool:
    """Whether an IOCTL's ``body`` asks, and changes nothing."""
    return _IOCTL.unpack_from(body)[2] in _READING


def parse_ioctl(message: memoryview) -> bytes:
    """The output of an FSCTL."""
    if len(message) < HEADER_SIZE + _IOCTL_REPLY.size:
        raise ProtocolError("an IOCTL reply is too short")
    offset, length = _IOCTL_REPLY.unpack_from(message, HEADER_SIZE)[6:8]
    output = message[offset : offset + length]
    if len(output) != length:
        raise ProtocolError("an IOCTL reply points outside itself")
    return bytes(output)
