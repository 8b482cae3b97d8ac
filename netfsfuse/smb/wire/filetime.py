"""FILETIME ([MS-DTYP] 2.3.3): 100 ns since 1601-01-01 UTC, in 64 bits. PURE.

A server means a signed number: Samba states what is older than 1601 as a negative one. 0 says that
the server has no such time.
"""

from __future__ import annotations

from netfsfuse.types import NO_TIME

_1970 = 116_444_736_000_000_000


def nanoseconds(ticks: int) -> int:
    """A FILETIME, signed, as ``FileAttr`` has its times: ns since 1970, or ``NO_TIME``. Two
    FILETIMEs are never one time."""
    return (ticks - _1970) * 100 if ticks else NO_TIME
