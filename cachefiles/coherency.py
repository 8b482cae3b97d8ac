"""The record beside a backing file: whose data it is and of which version of the file. Pure.

The coherency bytes are opaque here: the filesystem above decides what proves that a file did not
change, and compares. Layout, little-endian, inside the header that ``generation.py`` describes:

====== ===== ==================================================================
offset bytes meaning
====== ===== ==================================================================
0      4     ``CFOB``
4      2     format version, 2
6      2     c, length of the coherency bytes, at most 256
8      8     size of the file in bytes
16     16    identity of volume key and object key (``key.identity``)
32     2     k, length of the readable key, at most 512
34     2     0
36     c     coherency bytes
36+c   k     readable key, cut at 512 bytes: for people and for listing
36+c+k 8     XXH3-64 of everything before
====== ===== ==================================================================

At most 812 bytes, since an ext4 xattr block holds about 4,000 for all attributes of an inode.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass

import xxhash

from cachefiles.key import IDENTITY_BYTES

RECORD_XATTR = "user.cachefiles.object"
FORMAT_VERSION = 2
COHERENCY_MAX = 256
READABLE_MAX = 512
SIZE_MAX = 2**63 - 1
"""Bytes: what a file offset can say."""

_MAGIC = b"CFOB"
_HEAD = struct.Struct(f"<4sHHQ{IDENTITY_BYTES}sHH")
_CHECK = struct.Struct("<Q")


@dataclass(frozen=True, slots=True)
class Record:
    """Which object (``identity``, ``readable``) in which version (``size``, ``coherency``).

    ``size`` is the file's, in bytes; ``readable`` is the object key or its first 512 bytes.
    """

    identity: bytes
    size: int
    coherency: bytes
    readable: bytes


def encode(record: Record) -> bytes:
    """The xattr's value. ``ValueError`` when a member does not fit."""
    if len(record.coherency) > COHERENCY_MAX:
        raise ValueError(f"coherency data of {len(record.coherency)} bytes, at most 256 fit")
    if not 0 <= record.size <= SIZE_MAX:
        raise ValueError(f"impossible file size {record.size}")
    readable = record.readable[:READABLE_MAX]
    head = _HEAD.pack(
        _MAGIC,
        FORMAT_VERSION,
        len(record.coherency),
        record.size,
        record.identity,
        len(readable),
        0,
    )
    body = head + record.coherency + readable
    return body + _CHECK.pack(xxhash.xxh3_64_intdigest(body))


def decode(raw: bytes) -> Record | None:
    """The record, or None when it is damaged or of another format."""
    if len(raw) < _HEAD.size + _CHECK.size:
        return None
    body = raw[: -_CHECK.size]
    if _CHECK.unpack(raw[-_CHECK.size :])[0] != xxhash.xxh3_64_intdigest(body):
        return None
    magic, version, coherency, size, identity, readable, _ = _HEAD.unpack_from(body)
    if magic != _MAGIC or version != FORMAT_VERSION or size > SIZE_MAX:
        return None
    if len(body) != _HEAD.size + coherency + readable:
        return None
    split = _HEAD.size + coherency
    return Record(identity, size, body[_HEAD.size : split], body[split:])
