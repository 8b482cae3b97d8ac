"""What netfsfuse knows of a file -> the keys and coherency bytes of ``cachefiles``. Pure.

A volume is a share of a server: the subdirectory that is mounted and the user do not matter, since
the server itself checks every open before anything cached is served. An object is a FileId, so
that a renamed file keeps its data; a server without FileIds has its paths instead.
"""

from __future__ import annotations

import struct

from netfsfuse.types import Coherency, FileAttr, coherency_of

_COHERENCY = struct.Struct("<5Q")
_MASK = 2**64 - 1


def volume_key(host: str, port: int, share: str) -> bytes:
    """``//host:port/share``; hosts and shares know no case."""
    return f"//{host.lower()}:{port}/{share.lower()}".encode("utf-8", "surrogatepass")


def object_key(attr: FileAttr, path: str) -> bytes:
    """The FileId, or the path (from the share's root) where the server has none."""
    if attr.file_id:
        return b"id:%016x" % (attr.file_id & _MASK)
    return b"path:" + path.encode("utf-8", "surrogatepass")


def coherency_bytes(attr: FileAttr) -> bytes:
    """The record of ``attr``, 40 bytes: the members of ``Coherency``, little-endian."""
    return _COHERENCY.pack(*(member & _MASK for member in coherency_of(attr)))


def coherency_from(raw: bytes) -> Coherency | None:
    """The record that :func:`coherency_bytes` made, or None for anything else."""
    if len(raw) != _COHERENCY.size:
        return None
    return Coherency(*_COHERENCY.unpack(raw))
