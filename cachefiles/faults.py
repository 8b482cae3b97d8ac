"""Fault injection: a hook beside each syscall of ``backing.py``, absent unless a test passes one.

Real disks fail rarely and never on request. With a :class:`Faults` a test lets the n-th call, or
the n-th call of one name, fail with an errno, or transfer less than was asked.
"""

from __future__ import annotations

import os
from collections import Counter


class Faults:
    """Counts calls by name and fails the planned ones. For one thread at a time."""

    def __init__(self) -> None:
        self.calls: Counter[str] = Counter()
        self._total = 0
        self._by_total: dict[int, int] = {}
        self._by_name: dict[tuple[str, int], int] = {}
        self._always: dict[str, int] = {}
        self._limits: dict[str, int] = {}

    @property
    def total(self) -> int:
        """Calls so far, of any name."""
        return self._total

    def fail_nth(self, number: int, code: int) -> None:
        """Let the ``number``-th call from now (1 is the next), of any name, fail with ``code``."""
        self._by_total[self._total + number] = code

    def fail(self, call: str, code: int, number: int = 1) -> None:
        """Let the ``number``-th ``call`` from now fail with ``code``."""
        self._by_name[call, self.calls[call] + number] = code

    def fail_always(self, call: str, code: int) -> None:
        """Let every ``call`` fail with ``code`` from now on."""
        self._always[call] = code

    def shorten(self, call: str, length: int) -> None:
        """Let every ``call`` transfer at most ``length`` bytes at a time."""
        self._limits[call] = length

    def heal(self) -> None:
        """Forget all plans; the counts stay."""
        for plan in (self._by_total, self._by_name, self._always, self._limits):
            plan.clear()

    def enter(self, call: str, length: int = 0) -> int:
        """Called before the syscall. Raises the planned ``OSError``; returns the bytes allowed."""
        self._total += 1
        self.calls[call] += 1
        code = (
            self._by_total.pop(self._total, None)
            or self._by_name.pop((call, self.calls[call]), None)
            or self._always.get(call)
        )
        if code:
            raise OSError(code, os.strerror(code))
        return min(length, self._limits.get(call, length))
