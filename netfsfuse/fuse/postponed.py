"""News of inodes that the kernel is told a moment later, because an open may tell it first.

Each time the kernel is told that attributes or pages of an inode are old, it throws away the answer
to a GETATTR that is under way (``attr_version``), and the reader that sent it goes on with the size
known before. After an open that found a shorter file that reader asks for bytes behind the end, and
gets ESTALE. The news of a change mostly comes some milliseconds before or after the open that sees
it; so

- attributes are told ``PAUSE`` later where an open has renewed them less than ``PAUSE`` ago;
- pages always: a kernel that asks for attributes drops them itself where those show the change.

An open that makes the kernel ask for attributes, and drop the pages, does all that earlier news of
the inode would do: that is dropped. So nothing is put off twice, and what is told late is never
told within ``PAUSE`` behind such an open. Until then a ``stat`` may show what the open has found,
and not yet what changed behind it.
"""

from __future__ import annotations

from typing import NamedTuple

PAUSE = 0.1
"""Seconds; the news of a watch comes up to 20 ms behind the change, more on a busy machine."""

POSTPONED_MAX = 4096
"""Inodes; news of more is told at once."""


class LateNews(NamedTuple):
    """What to tell of an inode."""

    number: int
    attributes: bool
    pages: bool
    due: float


class Postponed:
    """The news that waits. PURE, clock passed in: ``now`` in seconds, never less than before."""

    def __init__(self) -> None:
        self._renewed: dict[int, float] = {}  # inode number -> when; the oldest first
        self._waiting: dict[int, LateNews] = {}  # by number; the next due first

    def renewed(self, number: int, now: float) -> None:
        """An open has made the kernel ask for attributes again, and drop the pages."""
        self._waiting.pop(number, None)
        self._renewed.pop(number, None)
        self._renewed[number] = now
        while now - next(iter(self._renewed.values())) >= PAUSE:
            del self._renewed[next(iter(self._renewed))]

    def is_fresh(self, number: int, now: float) -> bool:
        """Whether an open has renewed the inode less than ``PAUSE`` ago."""
        then = self._renewed.get(number)
        return then is not None and now - then < PAUSE

    def put(self, number: int, now: float, *, attributes: bool, pages: bool) -> bool:
        """Put off news of an inode; False where too many wait already. What waits is due when its
        first news is."""
        before = self._waiting.get(number)
        if before is None and len(self._waiting) >= POSTPONED_MAX:
            return False
        due = now + PAUSE
        if before is not None:
            attributes, pages = attributes or before.attributes, pages or before.pages
            due = before.due
        self._waiting[number] = LateNews(number, attributes, pages, due)
        return True

    @property
    def next_due(self) -> float | None:
        """When there is something to take; None: nothing waits."""
        return next(iter(self._waiting.values())).due if self._waiting else None

    def take(self, now: float) -> list[LateNews]:
        """What is due, the first first."""
        taken = []
        while (due := self.next_due) is not None and due <= now:
            taken.append(self._waiting.pop(next(iter(self._waiting))))
        return taken
