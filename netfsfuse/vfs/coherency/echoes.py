"""What a directory's watch tells of our own changes, and what of others'. PURE, clock passed in.

A server tells each watch of every change, those of this client too: Samba 4.17 within 1 or 2 ms of
its answer, or before that. Taken for another client's they would end the belief in what we have
just made, and cost a question for each change. So a change is *expected* from before it is sent
until ``ECHO_SECONDS`` after its answer, and what is told of it is left out.

Another client's change must not be left out with it. Names come and go one at a time: Samba told of
each made, removed or renamed name exactly once (measured), so each own change takes one. Where a
name comes or goes that is not expected, another client is at it, and nothing of that name is
expected any more. A refused change echoes nothing: what was taken for its echo is given back.

That a file was *modified* is told 0 to 4 times for one change, and a server may tell two clients'
modifications as one. So such an echo is doubtful: the caller is told of the name, which it believes
for its lifetime from then on and no longer by the watch. No more of them are taken than one change
can cause.
"""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Iterable, Sequence
from typing import NamedTuple

from netfsfuse.types import Change, ChangeKind
from netfsfuse.vfs.inodes.directory import folded

ECHO_SECONDS = 2.0
"""After the answer. Notifications come by another way through the server, which may be busy."""

MODIFIED_MOST = 4
"""Times that one request was seen to be told as a modification, at most."""


class Expected:
    """One own change under way, or just answered. ``taken``: what was told of it so far."""

    __slots__ = ("kinds", "modified", "name", "taken", "until")

    def __init__(self, name: str, kinds: Iterable[ChangeKind], modified: float) -> None:
        self.name = name  # folded
        self.kinds = list(kinds)
        self.modified = modified
        self.until = math.inf
        self.taken: list[Change] = []

    def take(self, change: Change) -> bool:
        """Whether ``change`` may be its echo; counted, if so."""
        if change.kind is ChangeKind.MODIFIED:
            if self.modified <= 0:
                return False
            self.modified -= 1
        elif change.kind in self.kinds:
            self.kinds.remove(change.kind)
        else:
            return False
        self.taken.append(change)
        return True


class Sifted(NamedTuple):
    """What was told, in two: ``others``' changes, and the names that were modified by us, or at the
    same time by another client."""

    others: Sequence[Change]
    doubtful: Sequence[str]


class Echoes:
    """The own changes that one directory's watch is to tell of."""

    __slots__ = ("_answered", "_expected")

    def __init__(self) -> None:
        self._expected: dict[str, list[Expected]] = {}  # by folded name, the first sent first
        self._answered: deque[Expected] = deque()  # the next to end first

    def expect(
        self, name: str, kinds: Iterable[ChangeKind], modified: float = MODIFIED_MOST
    ) -> Expected:
        """A change of ``name`` is about to be sent, which is told once as each of ``kinds``, and up
        to ``modified`` times as a modification."""
        expected = Expected(folded(name), kinds, modified)
        self._expected.setdefault(expected.name, []).append(expected)
        return expected

    def answered(self, expected: Expected, now: float) -> None:
        """It was done, or may have been."""
        expected.until = now + ECHO_SECONDS
        self._answered.append(expected)
        self._drop_old(now)

    def refused(self, expected: Expected) -> Sequence[Change]:
        """It was not done: what was taken for its echo, and was another client's."""
        self._drop(expected)
        return expected.taken

    def unwatched(self) -> None:
        """Nothing is told for a while: of names that come or go in it one may be another client's,
        and is not to be taken for what was not told."""
        for same in self._expected.values():
            for each in same:
                each.kinds.clear()

    def is_idle(self, now: float) -> bool:
        """Whether nothing is expected."""
        self._drop_old(now)
        return not self._expected

    def sift(self, changes: Iterable[Change], now: float) -> Sifted:
        """Tell ``changes``, in the order in which they were told, apart."""
        self._drop_old(now)
        others, doubtful = [], []
        for change in changes:
            name = folded(change.name) if self._expected else ""
            if any(each.take(change) for each in self._expected.get(name, ())):
                if change.kind is ChangeKind.MODIFIED:
                    doubtful.append(change.name)
                continue
            others.append(change)
            if change.names:
                self._expected.pop(name, None)
        return Sifted(others, doubtful)

    def _drop_old(self, now: float) -> None:
        while self._answered and self._answered[0].until <= now:
            self._drop(self._answered.popleft())

    def _drop(self, expected: Expected) -> None:
        same = self._expected.get(expected.name)
        if same is None or expected not in same:
            return
        same.remove(expected)
        if not same:
            del self._expected[expected.name]
