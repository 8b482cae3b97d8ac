"""PURE: errors of a file, told once to each handle that was open when they happened.

As ``errseq_t`` of Linux: a file counts its errors and remembers the last one; a handle remembers
how many there were when it looked last. What happened before a handle was opened is not its affair.
"""

from __future__ import annotations

from netfsfuse.errors import NetfsError


class ErrSeq:
    """The errors of one file."""

    __slots__ = ("_count", "_last")

    def __init__(self) -> None:
        self._count = 0
        self._last: NetfsError | None = None

    def sample(self) -> int:
        """For a handle that is opened now: where it stands."""
        return self._count

    def set(self, error: NetfsError) -> None:
        """``error`` happened, to bytes whose writers have been told that all is well."""
        self._count += 1
        self._last = error

    def check(self, since: int) -> tuple[int, NetfsError | None]:
        """For a handle that stood at ``since``: where it stands now, and the last error that has
        happened in between, None if none has."""
        return self._count, self._last if self._count != since else None
