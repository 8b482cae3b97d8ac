"""What is known of a directory beyond its attributes. PURE, clock passed in.

Two things are kept of a directory: its :class:`Folder`, the names and attributes that a listing
brought, asked for at one time; and its :class:`Watched`, what the server has told since. A name or
an attribute is believed either for its lifetime, or, where a watch lives, as long as nothing was
told of it: a watch both prolongs and ends belief. What was asked before the watch began may have
changed unnoticed in between, so the watch does not speak for it.

A watch is not told of everything. Its server's kernel sees no write through a shared mapping, and
none by another hard link in another directory. Therefore even a watched answer is believed for
``WATCH_TRUST`` at most.

And it is told a moment late: Samba answers the client that changed something before it tells us, by
some milliseconds. Where another client is changing things now, in the last ``CALM`` seconds, a
watch therefore speaks for attributes shown, but for no open and no name that is not there: these
are asked for.

It tells by the names on the server's disk, which are not always those that are listed. So a change
of a name that is not listed may be one of anything that is, unless the name is new. And what is
listed under several names with one FileId has changed under all of them.

All times are the moments when a question was sent, or a change was told; equal ones count as
changed.
"""

from __future__ import annotations

import math
import unicodedata
from collections import Counter
from collections.abc import Callable, Collection, Iterable, Mapping

from netfsfuse.types import Change, ChangeKind, FileAttr

WATCH_TRUST = 30.0
"""Seconds. A directory of 100 files is then asked for 3 times in 100 s, whatever is read in it."""

CALM = 2.0
"""Seconds without a change after which a directory counts as left alone."""

_DIRTY_MAX = 4096

LINKS_MAX = 256
"""Names of files that have several, told at once: where they are more, all may have changed."""
_APPEARS = (ChangeKind.CREATED, ChangeKind.RENAMED_TO)


def folded(name: str) -> str:
    """The same for all names that a server may take for one."""
    if name.isascii():
        return name.lower()
    return unicodedata.normalize("NFKD", name).casefold()


class Watched:
    """What a watch has told of one directory. ``begun``: when the server was asked to tell;
    ``before``: what another watch had told of it until then. ``is_heard``: whether what the server
    would have told by now has come, which is asked at each use."""

    __slots__ = (
        "_all",
        "_begun",
        "_dirty",
        "_doubtful",
        "_doubtful_at",
        "_ended",
        "_is_heard",
        "_is_listed",
        "_last_change",
        "_names",
        "_new",
        "_new_at",
        "_strange",
        "_strange_at",
    )

    def __init__(
        self,
        begun: float,
        before: Watched | None = None,
        is_heard: Callable[[], bool] = lambda: True,
    ) -> None:
        self._begun = begun
        self._is_heard = is_heard
        self._last_change = -math.inf  # when something was told last
        self._all = -math.inf  # when anything may have changed
        self._names = -math.inf  # when a name came or went
        self._dirty: dict[str, float] = {}  # when something of that name changed, names folded
        self._doubtful: dict[str, float] = {}  # when a change was told that may be our own alone
        self._doubtful_at = -math.inf
        self._new: set[str] = set()  # names that came to be, and are as they were told
        self._new_at = -math.inf  # when one of them changed, which may be a link of what is known
        self._strange: dict[str, float] = {}  # names of nothing that is known, when they were told
        self._strange_at = -math.inf
        self._is_listed = False  # whether it was known what is there
        self._ended = False
        if before is not None:
            self._last_change, self._all = before._last_change, before._all
            self._names, self._dirty = before._names, before._dirty
            self._new, self._new_at = before._new, before._new_at
            self._is_listed = before._is_listed
            self._strange, self._strange_at = before._strange, before._strange_at
            self._doubtful, self._doubtful_at = before._doubtful, before._doubtful_at

    def told(
        self,
        changes: Iterable[Change],
        now: float,
        folder: Folder | None = None,
        is_as_told: Callable[[str], bool] = lambda name: True,
    ) -> bool:
        """The server has told ``changes``; none means that there were too many to tell. ``folder``
        is what is listed, ``is_as_told`` whether a new file of that name is listed so. Returns
        whether anything in the directory may have changed."""
        nothing = True
        strange = False
        held: list[str] = []
        self._last_change = now
        self._is_listed = folder is not None
        for change in changes:
            nothing = False
            key = folded(change.name)
            self._dirty[key] = now
            if change.names:
                self._names = now
            if folder is not None and folder.holds(change.name):
                held.append(change.name)
                continue
            if key in self._new:
                self._new_at = now
                continue
            if change.kind in _APPEARS and is_as_told(change.name):
                self._new.add(key)
                continue
            strange = True
            self._strange[key] = self._strange_at = now
        links = folder.links_of(held) if folder is not None else ()
        if links is not None:
            self._dirty.update((folded(other), now) for other in links)
        too_many = links is None or len(self._dirty) > _DIRTY_MAX or len(self._new) > _DIRTY_MAX
        if nothing or too_many:
            self._all = self._names = now
            self._dirty.clear()
            self._strange.clear()
            self._new.clear()
            return True
        return strange and self._is_listed

    def doubt(self, name: str, now: float) -> None:
        """Something of ``name`` has changed, by what was told elsewhere."""
        self._dirty[folded(name)] = now

    def told_of_own(self, name: str, now: float) -> None:
        """A modification of ``name`` was told that was ours, and may have been another client's at
        the same moment, too: what was asked before is believed for its lifetime, and no longer by
        the watch."""
        if len(self._doubtful) >= _DIRTY_MAX:
            if now - self._doubtful_at < WATCH_TRUST:
                self._all = max(self._all, self._doubtful_at)
            self._doubtful.clear()
        self._doubtful[folded(name)] = self._doubtful_at = now

    def listed(self, folder: Folder) -> None:
        """It is known now what is there: what else was told so far was told of that, mostly."""
        self._is_listed = True
        self._strange = {
            name: when for name, when in self._strange.items() if not folder.holds_folded(name)
        }
        self._strange_at = max(self._strange.values(), default=-math.inf)

    def end(self) -> None:
        """Nothing is told any more. What was told stays true."""
        self._ended = True

    def all_changed(self, asked: float) -> bool:
        """Whether anything in the directory may have changed since ``asked``."""
        return asked <= self._all or (self._is_listed and asked <= self._strange_at)

    def changed_names(self, asked: float) -> int:
        """Of how many names something was told to have changed since ``asked``."""
        return sum(asked <= told for told in self._dirty.values())

    @property
    def lives(self) -> bool:
        """Whether changes are told."""
        return not self._ended

    def covers(self, asked: float, now: float) -> bool:
        """Whether a change of what was ``asked`` then would have been told."""
        return (
            not self._ended
            and self._begun <= asked
            and now - asked < WATCH_TRUST
            and self._is_heard()
        )

    def is_calm(self, now: float) -> bool:
        """Whether no client seems to be changing anything."""
        return now - self._last_change > CALM

    def unchanged(self, name: str, asked: float) -> bool:
        """Whether nothing of ``name`` was told to have changed since ``asked``."""
        if asked <= self._all or (self._is_listed and asked <= self._strange_at):
            return False
        return not self._dirty or asked > self._dirty.get(folded(name), -math.inf)

    def is_sure(self, name: str, asked: float) -> bool:
        """Whether no change of ``name`` was told since ``asked`` that may have been another's."""
        return asked > self._doubtful_at or asked > self._doubtful.get(folded(name), -math.inf)

    def is_sure_of_all(self, asked: float) -> bool:
        """The same of all names."""
        return asked > self._doubtful_at

    def hears_of_all_since(self, asked: float) -> bool:
        """Whether all that was told since ``asked`` is of names that are known."""
        return asked > self._strange_at and asked > self._new_at

    def names_unchanged(self, asked: float) -> bool:
        """Whether no name was told to have come or gone since ``asked``."""
        return asked > self._names


def _several(attrs: Mapping[str, FileAttr]) -> dict[int, list[str]]:
    """The names of files that have more than one."""
    first: dict[int, str] = {}
    several: dict[int, list[str]] = {}
    for name, attr in attrs.items():
        known = first.setdefault(attr.file_id, name)
        if known is not name:
            several.setdefault(attr.file_id, [known]).append(name)
    return several


class Folder:
    """A complete listing of one directory, all of it asked for at ``asked`` or later."""

    __slots__ = ("_doubted", "_folded", "_links", "asked", "attrs")

    def __init__(self, attrs: dict[str, FileAttr], asked: float) -> None:
        self.attrs = attrs
        self.asked = asked
        self._folded: dict[str, int] | None = None  # how many names are one when folded
        self._links: dict[int, list[str]] | None = None
        self._doubted: set[str] = set()

    def put(self, name: str, attr: FileAttr) -> None:
        """The name is there now, as ``attr``, by our own doing. What else is known stays as old as
        it is."""
        if name not in self.attrs and self._folded is not None:
            key = folded(name)
            self._folded[key] = self._folded.get(key, 0) + 1
        self.attrs[name] = attr
        self._links = None
        self._doubted.discard(name)

    def drop(self, name: str) -> None:
        """The name is gone, by our own doing; nothing happens if it was not known."""
        if self.attrs.pop(name, None) is None:
            return
        self._links = None
        self._doubted.discard(name)
        if self._folded is not None:
            key = folded(name)
            self._folded[key] -= 1
            if not self._folded[key]:
                del self._folded[key]

    def doubt(self, name: str) -> None:
        """The name was found to lead to another file than the one that was listed."""
        self._doubted.add(name)

    def is_doubted(self, name: str) -> bool:
        """Whether it is not to be believed what was listed as ``name``."""
        return bool(self._doubted) and name in self._doubted

    def holds(self, name: str) -> bool:
        """Whether the server may find ``name``: it does not mind case, and some not how accents are
        written."""
        return name in self.attrs or self.holds_folded(folded(name))

    def holds_folded(self, name: str) -> bool:
        """The same of a name that was :func:`folded`."""
        if self._folded is None:
            self._folded = Counter(map(folded, self.attrs))
        return name in self._folded

    def links_of(self, names: Iterable[str]) -> Collection[str] | None:
        """All names of those files listed as ``names`` that have several; None for more than
        ``LINKS_MAX``. Each file is looked at once, however many of its names are given."""
        known = (self.attrs.get(name) for name in names)
        files = {attr.file_id for attr in known if attr is not None and attr.file_id}
        if not files:
            return ()
        if self._links is None:
            self._links = _several(self.attrs)
        several = [self._links[each] for each in files if each in self._links]
        if sum(map(len, several)) > LINKS_MAX:
            return None
        return [name for each in several for name in each]
