"""Names of which the kernel was told that they are not there, and for how long it believes it.

A watch tells of each name that comes to be, and the kernel is told in turn. When there was too much
to tell, all of these names must be told: the kernel has no way of saying which it knows. They are
remembered where it is to believe them for longer than ``PROMISE``.
"""

from __future__ import annotations

from collections.abc import Iterable

PROMISE = 1.0
"""Seconds after which a change is seen: what the kernel believes no longer needs no news."""

REMEMBERED = 4096
"""Names; what is more is believed for ``PROMISE``."""


class Absent:
    """See the module. PURE, clock passed in."""

    def __init__(self) -> None:
        self._until: dict[tuple[int, bytes], float] = {}  # the one told first first

    def told(self, directory: int, name: bytes, lifetime: float, now: float) -> float:
        """The kernel is told now that ``name`` is not in ``directory``; returns for how long it may
        believe it, ``lifetime`` seconds at most."""
        if lifetime <= PROMISE:
            return lifetime
        key = (directory, name)
        self._until.pop(key, None)
        while self._until and next(iter(self._until.values())) <= now:
            del self._until[next(iter(self._until))]
        if len(self._until) >= REMEMBERED:
            return PROMISE
        self._until[key] = now + lifetime
        return lifetime

    def take(self, directories: Iterable[int]) -> list[tuple[int, bytes]]:
        """The names in any of ``directories``, which are forgotten: the kernel will ask again."""
        wanted = set(directories)
        found = [key for key in self._until if key[0] in wanted]
        for key in found:
            del self._until[key]
        return found
