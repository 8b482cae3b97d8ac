"""What netfsfuse knows of a file -> the keys and coherency bytes of ``cachefiles``. Pure.

A volume is a share of a server: the subdirectory that is mounted and the user do not matter, since
the server itself checks every open before anything cached is served. An object is a FileId, so
that a renamed file keeps its data; a server without FileIds has its paths instead.

A server gives a deleted file's FileId to a new file. Its creation time tells them apart, but not
where the server makes that up from the other times (files made on its own disk), and
not when the others are set: a tree that is deleted and unpacked again, all files of one size and
one time, has its FileIds dealt out anew among its names, and every record fits. There the path is
part of the key as well. A file that is renamed here is moved in the cache, too; one that is renamed
by others is fetched again.

A file that was just made has been accessed when it was created, so that its creation time proves
nothing until it is read from the server for the first time. What was kept of it until then is taken
over by :func:`former_key`.
"""

from __future__ import annotations

import struct

from netfsfuse.types import Coherency, FileAttr, coherency_of, creation_is_derived

_COHERENCY = struct.Struct("<QQ3q3I")
_MASK = 2**64 - 1
_SECOND = 1_000_000_000  # ns


def volume_key(host: str, port: int, share: str) -> bytes:
    """``//host:port/share``; hosts and shares know no case."""
    return f"//{host.lower()}:{port}/{share.lower()}".encode("utf-8", "surrogatepass")


def object_key(attr: FileAttr, path: str) -> bytes:
    """The FileId, with the path (from the share's root) where a FileId proves too little, or the
    path alone where the server has no FileId."""
    where = path.encode("utf-8", "surrogatepass")
    if not attr.file_id:
        return b"path:" + where
    identity = b"id:%016x" % (attr.file_id & _MASK)
    return identity + b":" + where if creation_is_derived(attr) else identity


def former_key(attr: FileAttr, path: str) -> bytes | None:
    """The key that the file may have had while its creation time proved nothing; None where it
    proves nothing still. What is found there is the file's only under the very same record."""
    if not attr.file_id or creation_is_derived(attr):
        return None
    return b"id:%016x:" % (attr.file_id & _MASK) + path.encode("utf-8", "surrogatepass")


def label(where: str) -> bytes:
    """For listings: the path ``where``, from the share's root."""
    return where.strip("/").encode("utf-8", "surrogatepass")


def coherency_bytes(attr: FileAttr) -> bytes:
    """The record of ``attr``, 52 bytes, little-endian: FileId, size (64 bits each, unsigned), the
    times (creation, change, write) in seconds since 1970 (64 bits each, signed), their nanoseconds
    (32 bits each). Saved on disk.

    Records of 40 bytes, with times in another unit, were made by versions before this one. They
    equal none of these, so that their objects are fetched again.
    """
    file_id, creation, change, write, size = coherency_of(attr)
    return _COHERENCY.pack(
        file_id & _MASK,
        size & _MASK,
        creation // _SECOND,
        change // _SECOND,
        write // _SECOND,
        creation % _SECOND,
        change % _SECOND,
        write % _SECOND,
    )


def coherency_from(raw: bytes) -> Coherency | None:
    """The record that :func:`coherency_bytes` made, or None for anything else."""
    if len(raw) != _COHERENCY.size:
        return None
    file_id, size, *times = _COHERENCY.unpack(raw)
    creation, change, write = (times[i] * _SECOND + times[i + 3] for i in range(3))
    return Coherency(file_id, creation, change, write, size)
