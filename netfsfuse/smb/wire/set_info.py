"""SMB2 SET_INFO ([MS-SMB2] 2.2.39) with the classes of [MS-FSCC] 2.4. Its reply says nothing."""

from __future__ import annotations

import struct

from netfsfuse.errors import NameTooLong
from netfsfuse.smb.wire.filetime import ticks_of
from netfsfuse.smb.wire.header import HEADER_SIZE

_SET = struct.Struct("<HBBIHHI16s")
_INFO_FILE = 1

_BASIC = 4
_RENAME = 10
_DISPOSITION = 13
_END_OF_FILE = 20

_TIMES = struct.Struct("<qqqqII")
_NEW_NAME = struct.Struct("<B7xQI")
_NEW_NAME_MIN = 24  # what a C compiler makes of the structure: shorter ones are refused
_NAME_END = 0xFFFE


def _pack(handle: bytes, kind: int, buffer: bytes) -> bytes:
    offset = HEADER_SIZE + _SET.size
    return _SET.pack(33, _INFO_FILE, kind, len(buffer), offset, 0, 0, handle) + buffer


def pack_set_basic(
    handle: bytes, *, access: int | None = None, write: int | None = None, attributes: int = 0
) -> bytes:
    """Body that sets times (ns since 1970) and attribute bits; None and 0 leave what is."""
    stamps = (0 if moment is None else ticks_of(moment) for moment in (access, write))
    return _pack(handle, _BASIC, _TIMES.pack(0, *stamps, 0, attributes, 0))


def pack_set_end_of_file(handle: bytes, size: int) -> bytes:
    """Body that cuts or extends the file to ``size`` bytes."""
    return _pack(handle, _END_OF_FILE, struct.pack("<Q", size))


def pack_set_rename(handle: bytes, name: str, *, replace: bool) -> bytes:
    """Body that gives the file the server's path ``name``; ``replace``: whatever has it goes.
    Raises NameTooLong."""
    encoded = name.encode("utf-16-le", "surrogatepass")
    if len(encoded) > _NAME_END:
        raise NameTooLong(f"a path of {len(encoded) // 2} characters")
    buffer = _NEW_NAME.pack(replace, 0, len(encoded)) + encoded
    return _pack(handle, _RENAME, buffer.ljust(_NEW_NAME_MIN, b"\0"))


def pack_set_disposition(handle: bytes, *, remove: bool = True) -> bytes:
    """Body that has the file removed when its last handle is closed, or not."""
    return _pack(handle, _DISPOSITION, bytes([remove]))
