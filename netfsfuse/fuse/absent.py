"""Names of which the kernel was told that they are not there, and for how long it believes it.

A watch tells of each name that comes to be, and the kernel is told in turn, of all its spellings:
the server may find one name in several cases, which the kernel does not know. When there was too
much to tell, all of these names must be told: the kernel has no way of saying which it knows. They
are remembered where it is to believe them for longer than ``PROMISE``.
"""

from __future__ import annotations

from collections.abc import Iterable

from netfsfuse.vfs.inodes.directory import folded

PROMISE = 1.0
"""Seconds after which a change is seen: what the kernel believes no longer needs no news."""

REMEMBERED = 4096
"""Names; what is more is believed for ``PROMISE``."""


class Absent:
    """The names that the kernel believes to be absent. PURE, clock passed in."""

    def __init__(self) -> None:
        self._until: dict[tuple[int, bytes], float] = {}  # the one told first first
        self._spellings: dict[tuple[int, str], set[bytes]] = {}  # of each folded name

    def told(self, directory: int, name: bytes, lifetime: float, now: float) -> float:
        """The kernel is told now that ``name`` is not in ``directory``; returns for how long it may
        believe it, ``lifetime`` seconds at most."""
        if lifetime <= PROMISE:
            return lifetime
        key = (directory, name)
        if key in self._until:
            self._forget(key)
        while self._until and next(iter(self._until.values())) <= now:
            self._forget(next(iter(self._until)))
        if len(self._until) >= REMEMBERED:
            return PROMISE
        self._until[key] = now + lifetime
        self._spellings.setdefault((directory, _folded(name)), set()).add(name)
        return lifetime

    def take(self, directories: Iterable[int]) -> list[tuple[int, bytes]]:
        """The names in any of ``directories``, which are forgotten: the kernel will ask again."""
        wanted = set(directories)
        found = [key for key in self._until if key[0] in wanted]
        for key in found:
            self._forget(key)
        return found

    def spellings(self, directory: int, name: str) -> list[bytes]:
        """Those under which ``name``, which came to be or went in ``directory``, may be found now;
        they are forgotten."""
        found = list(self._spellings.get((directory, folded(name)), ()))
        for each in found:
            self._forget((directory, each))
        return found

    def _forget(self, key: tuple[int, bytes]) -> None:
        del self._until[key]
        directory, name = key
        spelt = (directory, _folded(name))
        self._spellings[spelt].discard(name)
        if not self._spellings[spelt]:
            del self._spellings[spelt]


def _folded(name: bytes) -> str:
    return folded(name.decode("utf-8", "surrogateescape"))
