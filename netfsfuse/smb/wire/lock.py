"""SMB2 LOCK ([MS-SMB2] 2.2.26), of one range. Its reply says nothing."""

from __future__ import annotations

import struct

_LOCK = struct.Struct("<HHI16sQQII")
_EXCLUSIVE = 0x02
_UNLOCK = 0x04


def pack_lock(handle: bytes, start: int, length: int) -> bytes:
    """Body that waits for ``[start, start + length)`` and locks it for this handle alone."""
    return _LOCK.pack(48, 1, 0, handle, start, length, _EXCLUSIVE, 0)


def pack_unlock(handle: bytes, start: int, length: int) -> bytes:
    """Body that unlocks a range which the handle has locked as it is."""
    return _LOCK.pack(48, 1, 0, handle, start, length, _UNLOCK, 0)
