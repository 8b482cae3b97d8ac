"""The numbers of all inodes, to be gone through in steps while inodes come and go.

A dict cannot be gone through while it changes, and to copy the keys of one with a million takes 5
to 13 ms (measured), in which the loop stands still. So the numbers are also kept in the order in
which they came, 8 bytes each. One that goes stays in there until more than half are gone.
"""

from __future__ import annotations

from array import array
from collections.abc import Collection, Iterator, Sequence

SLACK = 4096
"""Numbers that may be left over, beside as many as there are inodes."""


class Arrivals:
    """Numbers of 64 bits in the order in which they came."""

    def __init__(self, *numbers: int) -> None:
        self._numbers = array("Q", numbers)

    def __len__(self) -> int:
        """Of the numbers that are kept, those left over included."""
        return len(self._numbers)

    def add(self, number: int, alive: Collection[int]) -> None:
        """One more came. ``alive``: all numbers that there are now, this one included."""
        self._numbers.append(number)
        if len(self._numbers) > 2 * len(alive) + SLACK:
            self.tidy(alive)

    def tidy(self, alive: Collection[int]) -> None:
        """Keep those that are ``alive`` alone. Steps that were begun go on as they were."""
        self._numbers = array("Q", alive)

    def steps(self, size: int) -> Iterator[Sequence[int]]:
        """All numbers, ``size`` at a time, as they were when the first step was taken; between two
        steps the caller may wait. Some may be gone by now, and one may come twice."""
        numbers = self._numbers
        for start in range(0, len(numbers), size):
            yield numbers[start : start + size]
