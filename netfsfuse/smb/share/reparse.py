"""PURE: symlink targets from reparse data ([MS-FSCC] 2.1.2) and from Minshall+French files."""

from __future__ import annotations

import hashlib
import struct

from netfsfuse.smb.wire.attributes import LX_SYMLINK, MOUNT_POINT, NFS, SYMLINK

MFSYMLINK_SIZE = 1067
"""A Minshall+French symlink file has exactly this size (fs/smb/client/link.c documents it)."""

_HEAD = struct.Struct("<IHH")
_NAMES = struct.Struct("<HHHH")
_NFS_LNK = 0x00000000014B4E4C


def parse_reparse(data: bytes) -> str | None:
    """The target in local form, or None when the data is no symlink that we understand."""
    if len(data) < _HEAD.size:
        return None
    tag, length, _ = _HEAD.unpack_from(data)
    body = data[_HEAD.size : _HEAD.size + length]
    if tag in (SYMLINK, MOUNT_POINT):
        return _windows_target(body, 4 if tag == SYMLINK else 0)
    if tag == LX_SYMLINK and len(body) > 4:
        return body[4:].decode("utf-8", "surrogateescape")
    if tag == NFS and len(body) > 8 and struct.unpack_from("<Q", body)[0] == _NFS_LNK:
        return _utf16(body[8:]).rstrip("\0") or None
    return None


def _utf16(raw: bytes) -> str:
    """Text as it is on the server's disk, unchecked: half a character at the end is cut off."""
    return raw[: len(raw) // 2 * 2].decode("utf-16-le", "surrogatepass")


def _windows_target(body: bytes, flags: int) -> str | None:
    if len(body) < _NAMES.size + flags:
        return None
    substitute_at, substitute_length, print_at, print_length = _NAMES.unpack_from(body)
    names = body[_NAMES.size + flags :]
    printed = names[print_at : print_at + print_length]
    target = printed or names[substitute_at : substitute_at + substitute_length]
    text = _utf16(target)
    for prefix in ("\\??\\UNC\\", "\\\\?\\UNC\\"):
        if text.startswith(prefix):
            text = "\\\\" + text[len(prefix) :]
    text = text.removeprefix("\\??\\").removeprefix("\\\\?\\")
    return text.replace("\\", "/") or None


def parse_mfsymlink(content: bytes) -> str | None:
    """The target when ``content`` is a Minshall+French symlink, its MD5 included."""
    if len(content) != MFSYMLINK_SIZE or not content.startswith(b"XSym\n"):
        return None
    try:
        length = int(content[5:9])
    except ValueError:
        return None
    target = content[43 : 43 + length]
    digest = hashlib.md5(target, usedforsecurity=False).hexdigest().encode()
    if content[9:10] != b"\n" or content[10:42].lower() != digest or len(target) != length:
        return None
    return target.decode("utf-8", "surrogateescape") or None
