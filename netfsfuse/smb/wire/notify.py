"""SMB2 CHANGE_NOTIFY ([MS-SMB2] 2.2.35, 2.2.36; [MS-FSCC] 2.7.1 for what it brings)."""

from __future__ import annotations

import struct
from typing import NamedTuple

from netfsfuse.errors import ProtocolError
from netfsfuse.smb.wire.header import HEADER_SIZE

ROOM = 64 * 1024
"""Bytes of changes the server may keep for us at most: one credit, some 1,000 names."""

ADDED = 1
REMOVED = 2
MODIFIED = 3
RENAMED_FROM = 4
RENAMED_TO = 5

_FILTER = 0x01 | 0x02 | 0x04 | 0x08 | 0x10 | 0x40 | 0x100
"""File names, directory names, attributes, size, last write, creation, security. Not last access:
our own reads would be told."""

_WATCH_TREE = 1
_REQUEST = struct.Struct("<HHI16sII")
_REPLY = struct.Struct("<HHI")
_INFORMATION = struct.Struct("<III")


class Notified(NamedTuple):
    """One change: FILE_ACTION and the name, as the server has it, below the directory."""

    action: int
    name: str


def pack_change_notify(handle: bytes, *, tree: bool = False, room: int = ROOM) -> bytes:
    """Body asking to be told of changes in the directory itself, or with ``tree`` in all below, in
    at most ``room`` bytes at a time."""
    return _REQUEST.pack(32, _WATCH_TREE if tree else 0, room, handle, _FILTER, 0)


def parse_change_notify(message: memoryview) -> list[Notified]:
    """What has changed; [] where there was more than fits, so that anything may have."""
    if len(message) < HEADER_SIZE + _REPLY.size:
        raise ProtocolError("a CHANGE_NOTIFY reply is too short")
    _, offset, length = _REPLY.unpack_from(message, HEADER_SIZE)
    raw = bytes(message[offset : offset + length])
    if len(raw) != length:
        raise ProtocolError("a CHANGE_NOTIFY reply points outside itself")
    changes = []
    at = 0
    while at < length:
        if at + _INFORMATION.size > length:
            raise ProtocolError("a notification is cut short")
        following, action, name_length = _INFORMATION.unpack_from(raw, at)
        name_at = at + _INFORMATION.size
        if name_length % 2 or name_at + name_length > length:
            raise ProtocolError("a notification's name is cut short")
        name = raw[name_at : name_at + name_length].decode("utf-16-le", "surrogatepass")
        changes.append(Notified(action, name))
        if not following:
            break
        if following < _INFORMATION.size + name_length:
            raise ProtocolError("notifications overlap")
        at += following
    return changes
