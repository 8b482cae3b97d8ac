"""What is known of a directory beyond its attributes. PURE, clock passed in.

Two things are kept of a directory: its :class:`Folder`, the names and attributes that a listing
brought, asked for at one time; and its :class:`Watched`, what the server has told since. A name or
an attribute is believed either for its lifetime, or, where a watch lives, as long as nothing was
told of it: a watch both prolongs and ends belief. What was asked before the watch began may have
changed unnoticed in between, so the watch does not speak for it.

A watch is not told of everything. Its server's kernel sees no write through a shared mapping, and
none by another hard link in another directory. Therefore even a watched answer is believed for
``WATCH_TRUST`` at most.

And it is told a moment late: Samba answers who has changed something before it has told us, by some
milliseconds. Where somebody is changing things now, in the last ``CALM`` seconds, a watch therefore
speaks for attributes shown, but for no open and no name that is not there: these are asked for.

All times are the moments when a question was sent, or a change was told; equal ones count as
changed.
"""

from __future__ import annotations

import math
import unicodedata
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from netfsfuse.types import Change, FileAttr

WATCH_TRUST = 30.0
"""Seconds. A directory of 100 files is then asked for 3 times in 100 s, whatever is read in it."""

CALM = 2.0
"""Seconds without a change after which a directory counts as left alone."""

_DIRTY_MAX = 4096


def folded(name: str) -> str:
    """The same for all names that a server may take for one."""
    if name.isascii():
        return name.lower()
    return unicodedata.normalize("NFKD", name).casefold()


class Watched:
    """What a watch has told of one directory. ``begun``: when the server was asked to tell;
    ``before``: what another watch had told of it until then."""

    __slots__ = ("_all", "_begun", "_dirty", "_ended", "_names", "_told_at")

    def __init__(self, begun: float, before: Watched | None = None) -> None:
        self._begun = begun
        self._told_at = -math.inf  # when something was told last
        self._all = -math.inf  # when anything may have changed
        self._names = -math.inf  # when a name came or went
        self._dirty: dict[str, float] = {}  # when something of that name changed
        self._ended = False
        if before is not None:
            self._told_at, self._all = before._told_at, before._all
            self._names, self._dirty = before._names, before._dirty

    def told(self, changes: Iterable[Change], now: float) -> None:
        """The server has told ``changes``; none means that there were too many to tell."""
        nothing = True
        self._told_at = now
        for change in changes:
            nothing = False
            self._dirty[change.name] = now
            if change.names:
                self._names = now
        if nothing or len(self._dirty) > _DIRTY_MAX:
            self._all = self._names = now
            self._dirty.clear()

    def end(self) -> None:
        """Nothing is told any more. What was told stays true."""
        self._ended = True

    def all_changed(self, asked: float) -> bool:
        """Whether anything in the directory may have changed since ``asked``."""
        return asked <= self._all

    def changed_names(self, asked: float) -> int:
        """Of how many names something was told to have changed since ``asked``."""
        return sum(asked <= told for told in self._dirty.values())

    @property
    def lives(self) -> bool:
        """Whether changes are told."""
        return not self._ended

    def speaks_for(self, asked: float, now: float) -> bool:
        """Whether a change of what was ``asked`` then would have been told."""
        return not self._ended and self._begun <= asked and now - asked < WATCH_TRUST

    def is_calm(self, now: float) -> bool:
        """Whether nobody seems to be changing anything."""
        return now - self._told_at > CALM

    def unchanged(self, name: str, asked: float) -> bool:
        """Whether nothing of ``name`` was told to have changed since ``asked``."""
        return asked > self._all and asked > self._dirty.get(name, -math.inf)

    def names_unchanged(self, asked: float) -> bool:
        """Whether no name was told to have come or gone since ``asked``."""
        return asked > self._names


@dataclass(frozen=True, slots=True)
class Missing:
    """The directory holds no such name."""


@dataclass(frozen=True, slots=True)
class Known:
    """The directory holds the name, with ``attr`` as of ``asked``."""

    attr: FileAttr
    asked: float


class Folder:
    """A complete listing of one directory, all of it asked for at ``asked`` or later."""

    __slots__ = ("_folded", "asked", "attrs")

    def __init__(self, attrs: dict[str, FileAttr], asked: float) -> None:
        self.attrs = attrs
        self.asked = asked
        self._folded: set[str] | None = None

    def holds(self, name: str) -> bool:
        """Whether the server may find ``name``: it does not mind case, and some not how accents are
        written."""
        if name in self.attrs:
            return True
        if self._folded is None:
            self._folded = {folded(known) for known in self.attrs}
        return folded(name) in self._folded

    def names(self) -> Iterator[str]:
        """In the order of the listing."""
        return iter(self.attrs)


def is_listing_believed(
    folder: Folder, watched: Watched | None, now: float, lifetime: float
) -> bool:
    """Whether ``folder`` may be shown to who lists the directory now."""
    if watched is not None:
        if not watched.names_unchanged(folder.asked):
            return False
        if watched.speaks_for(folder.asked, now):
            return True
    return now < folder.asked + lifetime


def find(
    folder: Folder, watched: Watched | None, name: str, now: float, lifetime: float
) -> Known | Missing | None:
    """What is believed of ``name``; None where the server must be asked."""
    attr = folder.attrs.get(name)
    if attr is None:
        # Only by a watch: the kernel is to believe it for a whole lifetime more.
        if watched is None or not watched.speaks_for(folder.asked, now):
            return None
        if not watched.is_calm(now):
            return None
        missing = watched.names_unchanged(folder.asked) and not folder.holds(name)
        return Missing() if missing else None
    if watched is not None:
        if not watched.unchanged(name, folder.asked):
            return None
        if watched.speaks_for(folder.asked, now):
            return Known(attr, folder.asked)
    return Known(attr, folder.asked) if now < folder.asked + lifetime else None
