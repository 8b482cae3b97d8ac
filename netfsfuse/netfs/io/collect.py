"""PURE: what to do with what a source returned."""

from __future__ import annotations

import enum

from netfsfuse.errors import ProtocolError


class Verdict(enum.Enum):
    """What comes next for a subrequest."""

    DONE = "done"
    REISSUE = "reissue"  # a short read: ask for the rest, into the same buffer
    SHORT = "short"  # the server's file ends here, before the i_size we were told


def assess(length: int, transferred: int, received: int) -> Verdict:
    """Judge a server's answer of ``received`` bytes to a request for the last
    ``length - transferred`` of ``length``.

    Raises ``ProtocolError`` for more than was asked.
    """
    rest = length - transferred
    if not 0 <= received <= rest:
        raise ProtocolError(f"the server sent {received} bytes where {rest} were asked for")
    if received == rest:
        return Verdict.DONE
    return Verdict.REISSUE if received else Verdict.SHORT


def is_storable(*, whole: bool, from_server: bool, overrun: bool, live: bool) -> bool:
    """Whether a filled subrequest goes into the cache.

    ``whole``: every block is full or cut at i_size, else its last block would be stored short.
    ``overrun``: its buffer is beyond the budget because the cache disk hangs. ``live``: the file is
    still the one that the cache object was opened for.
    """
    return whole and from_server and live and not overrun
