"""Look-up counts and paths: an inode lives exactly as long as the kernel knows it."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule

from netfsfuse.stats import VfsStats
from netfsfuse.types import DIRECTORY, NO_TIME, FileAttr
from netfsfuse.vfs.inodes import inodes
from netfsfuse.vfs.inodes.identity import ROOT_INODE
from netfsfuse.vfs.inodes.inodes import Inode, InodeTable
from tests.vfs.fakes import dir_attr, file_attr

FREEZE_ABOVE = inodes.FREEZE_ABOVE
NUMBERS = st.integers(2, 12)


class CountMachine(RuleBasedStateMachine):
    """The kernel's own idea of the counts is the model. All that may be frozen is."""

    @initialize()
    def begin(self) -> None:
        inodes.FREEZE_ABOVE = 0
        self.stats = VfsStats()
        self.table = InodeTable(dir_attr(2), self.stats)
        self.kernel: dict[int, int] = {}

    def _bind(self, number: int) -> Inode:
        inode = self.table.find(number)
        return inode or self.table.add(Inode(number, self.table.root, "n", file_attr(number)))

    @rule(number=NUMBERS)
    def looked_up(self, number: int) -> None:
        self._bind(number).nlookup += 1
        self.kernel[number] = self.kernel.get(number, 0) + 1

    @rule(number=NUMBERS)
    def listed(self, number: int) -> None:
        """The kernel is told, and the inode may be frozen at once."""
        inode = self._bind(number)
        inode.nlookup += 1
        self.table.told(inode)
        self.kernel[number] = self.kernel.get(number, 0) + 1

    @rule(number=NUMBERS)
    def bound_in_vain(self, number: int) -> None:
        self.table.discard_unknown(self._bind(number))

    @rule(number=st.integers(0, 12), data=st.data())
    def forgotten(self, number: int, data: st.DataObject) -> None:
        known = self.kernel.get(number, 0)
        count = data.draw(st.integers(0, known)) if known else 1
        self.table.forget(number, count)
        if known:
            self.kernel[number] = known - count
            if not self.kernel[number]:
                del self.kernel[number]

    @invariant()
    def agrees(self) -> None:
        if hasattr(self, "table"):
            counts = {inode.number: inode.nlookup for inode in self.table}
            assert counts.pop(ROOT_INODE) == 0
            assert counts == self.kernel
            assert self.stats.inodes in (0, len(self.table))

    def teardown(self) -> None:
        inodes.FREEZE_ABOVE = FREEZE_ABOVE


TestCounts = CountMachine.TestCase


U64 = st.integers(0, 2**64 - 1)
TIMES = st.just(NO_TIME) | st.integers(-(10**21), 10**21)


@given(
    st.builds(FileAttr, U64, *[TIMES] * 4, U64, U64, st.integers(0, 2**32 - 1)),
    st.text(min_size=1),
    st.integers(0, 2**64 - 1),
    st.floats(0, 1e9),
)
def test_frozen_and_thawed(attr: FileAttr, name: str, generation: int, asked: float) -> None:
    attr = attr._replace(flags=attr.flags & ~DIRECTORY)
    table = InodeTable(dir_attr(2), VfsStats())
    inode = table.add(Inode(7, table.root, name, attr))
    inode.generation, inode.known_at, inode.attr_until, inode.nlookup = generation, asked, 5.5, 1
    try:
        inodes.FREEZE_ABOVE = 0
        table.told(inode)
    finally:
        inodes.FREEZE_ABOVE = FREEZE_ABOVE
    assert isinstance(table._inodes[7], tuple)
    again = table.get(7)
    assert again is not inode
    for field in Inode.__slots__:
        assert getattr(again, field) == getattr(inode, field)
    assert table.find(7) is again


def test_what_others_may_hold_stays() -> None:
    table = InodeTable(dir_attr(2), VfsStats())
    held = table.add(Inode(7, table.root, "f", file_attr(7)))
    folder = table.add(Inode(8, table.root, "d", dir_attr(8)))
    read = table.add(Inode(9, table.root, "g", file_attr(9)))
    read.pages = read.attr
    held.nlookup, folder.nlookup, read.nlookup = 2, 1, 1
    try:
        inodes.FREEZE_ABOVE = 0
        for inode in (held, folder, read):
            table.told(inode)
    finally:
        inodes.FREEZE_ABOVE = FREEZE_ABOVE
    assert [table.find(number) for number in (7, 8, 9)] == [held, folder, read]


def test_path_and_what_holds_what() -> None:
    table = InodeTable(dir_attr(2), VfsStats())
    a = table.add(Inode(10, table.root, "a", dir_attr(10)))
    b = table.add(Inode(11, a, "b", dir_attr(11)))
    assert (table.root.path, a.path, b.path) == ("", "a", "a/b")
    assert a.holds(b)
    assert a.holds(a)
    assert table.root.holds(b)
    assert not b.holds(a)
    table.forget(10, 1)
    assert b.path == "a/b"  # the kernel may drop a parent first


def test_a_table_that_was_large_gives_its_memory_back() -> None:
    table = InodeTable(dir_attr(2), VfsStats())
    for number in range(10, 50_010):
        table.add(Inode(number, table.root, "n", file_attr(number))).nlookup = 1
    large = table._inodes.__sizeof__()
    for number in range(10, 50_010):
        table.forget(number, 1)
    assert len(table) == 1
    assert table._inodes.__sizeof__() < large / 4
