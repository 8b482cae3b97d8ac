"""In what order a reader goes through a directory. PURE.

``grep -r`` takes files as they are listed, a shell's ``*`` by name, ``tar`` and ``fts`` of large
directories by inode. Each use of a name is held against all three; the one in which uses follow
each other says what comes next.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence

from netfsfuse.types import FileAttr

_STRIDE = 8
"""Names that may be left out: directories between files, files that grep does not want."""

RUN = 2
"""Uses in order before the next ones are foreseen."""

SORTED_MAX = 2_000
"""Names of one directory: three orders of more would hold up the loop for milliseconds. There only
the order of the listing is foreseen."""

Sorting = Callable[[Mapping[str, FileAttr]], list[str]]


def _listed(attrs: Mapping[str, FileAttr]) -> list[str]:
    return list(attrs)


def _by_name(attrs: Mapping[str, FileAttr]) -> list[str]:
    return sorted(attrs)


def _by_inode(attrs: Mapping[str, FileAttr]) -> list[str]:
    return sorted(attrs, key=lambda name: attrs[name].file_id)


SORTINGS: tuple[Sorting, ...] = (_listed, _by_name, _by_inode)


class Order:
    """One way of sorting, and how far the reader has come in it."""

    __slots__ = ("_places", "at", "names", "run")

    def __init__(self, names: Sequence[str]) -> None:
        self.names = names
        self._places = {name: place for place, name in enumerate(names)}
        self.at = -1
        self.run = 0

    def use(self, name: str) -> None:
        """``name`` is used. One that was used just before, or again, is no step."""
        place = self._places.get(name)
        if place is None:
            return
        if self.at < place <= self.at + _STRIDE:
            self.run += 1
        elif not self.at - _STRIDE <= place <= self.at:
            self.run = 1 if place == 0 else 0
        else:
            return
        self.at = place

    def following(self) -> Iterator[str]:
        """The names behind the one used last."""
        return (self.names[place] for place in range(self.at + 1, len(self.names)))


class Walk:
    """A reader's way through one directory's names, of one kind: files, or directories."""

    __slots__ = ("_orders", "_used")

    def __init__(self, attrs: Mapping[str, FileAttr], sorting: int | None = None) -> None:
        """``sorting``: the one that was right in the directory before this, foreseen at once."""
        self._used = 0
        chosen: Sequence[int] = range(len(SORTINGS)) if sorting is None else (sorting,)
        if len(attrs) > SORTED_MAX:
            chosen = (0,)
        self._orders = {which: Order(SORTINGS[which](attrs)) for which in chosen}
        if sorting in self._orders:
            self._orders[sorting].run = RUN

    def use(self, name: str) -> None:
        """``name`` is used."""
        self._used += 1
        for order in self._orders.values():
            order.use(name)
        best = self.best
        if best is not None and self._used > 2 * RUN and len(self._orders) > 1:
            self._orders = {best: self._orders[best]}  # the others were wrong, and hold memory

    @property
    def best(self) -> int | None:
        """The sorting that was right so far."""
        which = max(self._orders, key=lambda each: self._orders[each].run)
        return which if self._orders[which].run >= RUN else None

    def following(self) -> Iterator[str]:
        """What is to be used next, as far as can be foreseen."""
        best = self.best
        return iter(()) if best is None else self._orders[best].following()
