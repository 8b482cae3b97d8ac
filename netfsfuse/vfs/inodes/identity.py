"""PURE: decisions about what the server says of a file: is it the same file, is the content
settled, is this the end of it?"""

from __future__ import annotations

import math
import mmap
import zlib
from typing import NamedTuple

from netfsfuse.types import FileAttr, ServerTime, coherency_of, same_content

ROOT_INODE = 1
_OWN = 1 << 63
_NO_FILE_ID = (0, 0xFFFFFFFFFFFFFFFF)

_64_BITS = 2**64 - 1
_SECOND = 1_000_000_000  # ns
_SETTLED_FINE = 0.05
"""Seconds after which a further change must show in the times, where the server's clock is fine:
Linux stamps files with its tick (4 to 10 ms)."""
_SETTLED_COARSE = 2.0
"""The same where times are whole seconds (FAT, ext3, HFS+)."""
_AHEAD = 10.0
"""Seconds: a time that lies so far ahead of the server's clock was not stamped by it."""
_FRESH = 600.0
"""Seconds for which it is believed that no administrator has set the server's clock forward."""


def inode_number(attr: FileAttr, path: str) -> int:
    """The number shown for a file: its FileId, but for those that mean something else to FUSE
    (0 none, 1 the root), and a number of our own, from the path, where the server has none.
    """
    if attr.file_id in _NO_FILE_ID:
        encoded = path.encode("utf-8", "surrogatepass")
        return _OWN | zlib.crc32(encoded) << 31 | zlib.adler32(encoded) & 0x7FFFFFFF
    if attr.file_id == ROOT_INODE:
        return _OWN | ROOT_INODE
    return attr.file_id


def generation_of(attr: FileAttr) -> int:
    """What tells the kernel two files apart that have one number after the other: 64 bits, of the
    creation time."""
    return attr.creation & _64_BITS


def surely_same_file(known: FileAttr, now: FileAttr) -> bool:
    """Whether two descriptions with one inode number mean one file, as far as they can tell.

    A creation time that moved speaks against it, unless nothing else moved: see
    ``types.same_content``. A server that derives creation times moves them in a living file too;
    a caller that holds the file open can ask the handle then.
    """
    if known.is_directory != now.is_directory:
        return False
    return known.creation == now.creation or same_content(coherency_of(known), now)


def racy_for(attr: FileAttr) -> float:
    """Seconds for which the server may stamp a further change with the same times."""
    return _SETTLED_COARSE if attr.change % _SECOND == attr.write % _SECOND == 0 else _SETTLED_FINE


class Sight(NamedTuple):
    """What our own clock knows of a file's times, in seconds: how long they have been the same
    (``lasting``), and how long ago they were others (``moved``; infinite: never seen)."""

    lasting: float = 0.0
    moved: float = math.inf


def is_settled(attr: FileAttr, now: ServerTime, sight: Sight, ago: float = 0.0) -> bool:
    """Whether a further change of the file cannot carry the times that it has.

    Until then equal times prove nothing ("racily clean", as git calls it), and data read ``now``,
    or ``ago`` seconds before, must not be taken for the file's content later. What we saw ourselves
    comes first: times that have been the same for long enough are not those of the server's
    present; and where they were others less long ago than they claim to be old, the server's clock
    has been set. Otherwise they are held against that clock: a change stamps a file with the
    present, which differs from what is past, and from what lies far ahead (a camera's clock, an
    archive's date), as long as the clock was not set forward to there.
    """
    change, write = attr.change, attr.write
    limit = racy_for(attr)
    if sight.lasting > limit:
        return True
    earliest = now.earliest - ago
    age = earliest - (max(change, write) / _SECOND)
    if sight.moved < math.inf and not 0.0 <= age <= sight.moved:
        return False
    if age > limit:
        return True
    past = earliest - limit
    ahead = now.latest + _AHEAD if now.measured < _FRESH else math.inf
    return all(seconds < past or seconds > ahead for seconds in (change / _SECOND, write / _SECOND))


def is_sound_end(start: int, size: int, got: int, stated: int, *, direct: bool) -> bool:
    """Whether ``got`` bytes may be the answer to a read of ``size``, as far as the kernel's idea of
    the file's size goes. ``stated``: the largest size it was told since the read began.

    The kernel takes a shorter answer for the end of file and fills its page up with zeros, which
    programs then read if it believes the file to be longer. Its buffered reads end at most with the
    page of the last byte: one that goes on behind that page was made when the kernel knew a larger
    size. Direct reads are as long as the program wants, and nothing of them is kept.
    """
    if got == size:
        return True
    last_page_end = -(-stated // mmap.PAGESIZE) * mmap.PAGESIZE
    return start + got >= stated and (direct or start + size <= last_page_end)
