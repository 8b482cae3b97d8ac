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


def ticks_of(moment: int) -> int:
    """The FILETIME of ``moment``, ns since 1970, for a request: as near as it can be stated. Never
    0, -1 or -2, by which a request means something else."""
    ticks = moment // 100 + _1970
    return min(max(ticks, -(1 << 63)), (1 << 63) - 1) if not -2 <= ticks <= 0 else 1
