"""An inode that is not used, as a few bytes: what a listing has told the kernel of it. PURE.

Times are kept as seconds and nanoseconds, for one of 1601 in nanoseconds has no room in 64 bits.
The look-up count and the name can be read without the rest.
"""

from __future__ import annotations

import struct

from netfsfuse.types import FileAttr

_SECOND = 1_000_000_000
_RECORD = struct.Struct("<4Q4q5I2dQ")
_COUNT = struct.Struct("<Q")
_COUNT_AT = _RECORD.size - _COUNT.size


def pack(
    attr: FileAttr, generation: int, known_at: float, attr_until: float, nlookup: int, name: str
) -> bytes:
    """108 bytes, and the name."""
    file_id, creation, access, write, change, size, allocation, flags = attr
    return _RECORD.pack(
        file_id,
        size,
        allocation,
        generation,
        creation // _SECOND,
        access // _SECOND,
        write // _SECOND,
        change // _SECOND,
        creation % _SECOND,
        access % _SECOND,
        write % _SECOND,
        change % _SECOND,
        flags,
        known_at,
        attr_until,
        nlookup,
    ) + name.encode("utf-8", "surrogatepass")


def unpack(record: bytes) -> tuple[FileAttr, int, float, float, int, str]:
    """What was packed, in that order."""
    fields = _RECORD.unpack_from(record)
    file_id, size, allocation, generation = fields[:4]
    times = (high * _SECOND + low for high, low in zip(fields[4:8], fields[8:12], strict=True))
    flags, known_at, until, nlookup = fields[12:]
    attr = FileAttr._make((file_id, *times, size, allocation, flags))
    return attr, generation, known_at, until, nlookup, name_of(record)


def name_of(record: bytes) -> str:
    """The inode's name in its parent."""
    return record[_RECORD.size :].decode("utf-8", "surrogatepass")


def nlookup_of(record: bytes) -> int:
    """How often the kernel has looked it up."""
    count: int = _COUNT.unpack_from(record, _COUNT_AT)[0]
    return count
