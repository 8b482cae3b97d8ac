"""What is believed of a directory, against a model that knows all that ever happened."""

from __future__ import annotations

import dataclasses

from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule

from netfsfuse.types import Change, ChangeKind, FileAttr
from netfsfuse.vfs.coherency import listed_names
from netfsfuse.vfs.coherency.listed_names import Known, Missing
from netfsfuse.vfs.inodes.directory import (
    CALM,
    WATCH_TRUST,
    Folder,
    Watched,
)
from tests.vfs.fakes import file_attr

NAMES = ["a", "B", "c", "d"]
LIFETIME = 1.0


def find(
    folder: Folder, watched: Watched | None, name: str, now: float, lifetime: float
) -> Known | Missing | None:
    return listed_names.name(folder, watched, name, now, lifetime)[0]


def is_listing_believed(
    folder: Folder, watched: Watched | None, now: float, lifetime: float
) -> bool:
    return listed_names.listing(folder, watched, now, lifetime)[0]


@dataclasses.dataclass
class Truth:
    """The server's directory, and since when each name is as it is."""

    files: dict[str, FileAttr]
    since: dict[str, float]


class Believing(RuleBasedStateMachine):
    """The watch tells everything, at once or (``told``) a moment later; nothing else is known."""

    def __init__(self) -> None:
        super().__init__()
        self.now = 100.0
        self.number = 0
        self.truth = Truth({}, {})
        self.history: dict[str, list[tuple[float, FileAttr | None]]] = {n: [] for n in NAMES}
        self.watched: Watched | None = None
        self.folder: Folder | None = None
        self.untold: list[Change] = []

    @initialize()
    def some(self) -> None:
        for name in NAMES[:2]:
            self.write(name)

    def _happened(self, name: str, attr: FileAttr | None, kind: ChangeKind) -> None:
        if attr is None:
            self.truth.files.pop(name, None)
        else:
            self.truth.files[name] = attr
        self.truth.since[name] = self.now
        self.history[name].append((self.now, attr))
        if self.watched is not None:
            self.untold.append(Change(name, kind))

    @rule(name=st.sampled_from(NAMES))
    def write(self, name: str) -> None:
        self.number += 1
        kind = ChangeKind.MODIFIED if name in self.truth.files else ChangeKind.CREATED
        self._happened(name, file_attr(self.number, self.number), kind)

    @rule(name=st.sampled_from(NAMES))
    def remove(self, name: str) -> None:
        if name in self.truth.files:
            self._happened(name, None, ChangeKind.REMOVED)

    @rule()
    def tell(self) -> None:
        if self.watched is not None and self.untold:
            self.watched.told(self.untold, self.now)
        self.untold = []

    @rule()
    def overflow(self) -> None:
        """More changes than the server could tell."""
        if self.watched is not None and self.untold:
            self.watched.told([], self.now)
        self.untold = []

    @rule()
    def begin_watch(self) -> None:
        self.now += 1e-6  # a watch is begun before anything is asked, or after it
        if self.watched is None:
            self.watched = Watched(self.now)
            self.untold = []

    @rule()
    def end_watch(self) -> None:
        if self.watched is not None:
            self.watched.end()
            self.watched = None
            self.untold = []

    @rule()
    def list(self) -> None:
        self.now += 1e-6
        self.folder = Folder(dict(self.truth.files), self.now)

    @rule(seconds=st.sampled_from([0.0, 0.1, 0.9, LIFETIME, CALM + 0.1, WATCH_TRUST]))
    def wait(self, seconds: float) -> None:
        self.now += seconds

    def _was_so(self, name: str, attr: FileAttr | None) -> bool:
        """Whether ``name`` was ``attr`` at some time within the lifetime that just ends now."""
        states = [(-1.0, None), *self.history[name]]
        for (_, state), (until, _) in zip(states, [*states[1:], (self.now + 1, None)], strict=True):
            if state == attr and until > self.now - LIFETIME:
                return True
        return False

    @invariant()
    def nothing_wrong_is_believed(self) -> None:
        if self.folder is None:
            return
        for name in NAMES:
            found = find(self.folder, self.watched, name, self.now, LIFETIME)
            told = self.watched is not None and not self.untold
            now = self.truth.files.get(name)
            if isinstance(found, Known):
                if told and self._speaks():
                    assert found.attr == now
                assert self.untold or found.attr == now or self._was_so(name, found.attr)
            elif isinstance(found, Missing):
                assert self.watched is not None
                assert self.untold or name not in self.truth.files
        if is_listing_believed(self.folder, self.watched, self.now, LIFETIME):
            names = set(self.folder.attrs)
            right = names == set(self.truth.files)
            recent = any(t > self.now - LIFETIME for t in self.truth.since.values())
            assert right or self.untold or recent

    def _speaks(self) -> bool:
        assert self.watched is not None
        assert self.folder is not None
        return self.watched.covers(self.folder.asked, self.now)


TestBelieving = Believing.TestCase


def test_a_watch_is_believed_for_its_trust_and_no_longer() -> None:
    """It is not told of everything, see the module."""
    attr = file_attr(1, 5)
    folder, watched = Folder({"f": attr}, 10.0), Watched(10.0)
    assert find(folder, watched, "f", 10 + WATCH_TRUST - 0.1, 1.0) == Known(attr, 10.0)
    assert find(folder, watched, "f", 10 + WATCH_TRUST, 1.0) is None
    assert isinstance(find(folder, watched, "g", 10 + WATCH_TRUST - 0.1, 1.0), Missing)
    assert find(folder, watched, "g", 10 + WATCH_TRUST, 1.0) is None


def test_a_watch_does_not_speak_for_what_was_asked_before_it() -> None:
    folder, watched = Folder({}, 10.0), Watched(10.5)
    assert find(folder, watched, "g", 11.0, 1.0) is None
    assert not is_listing_believed(folder, watched, 12.0, 1.0)


def test_case_is_the_servers_affair() -> None:
    """A server that does not mind case may find what was listed in another."""
    folder, watched = Folder({"ReadMe": file_attr(1)}, 10.0), Watched(10.0)
    assert find(folder, watched, "readme", 10.1, 1.0) is None
    assert isinstance(find(folder, watched, "other", 10.1, 1.0), Missing)


def test_no_name_is_missing_while_others_are_at_work() -> None:
    """The server may have told us of a new one a moment late."""
    folder, watched = Folder({}, 10.0), Watched(10.0)
    watched.told([Change("x", ChangeKind.MODIFIED)], 11.0)
    assert find(folder, watched, "g", 11.0 + CALM, 1.0) is None
    assert isinstance(find(folder, watched, "g", 11.1 + CALM, 1.0), Missing)
