"""What the cache counts is never less than what it takes on the disk, whoever has it open.

Three processes' worth of caches on one directory. One holds files while another replaces, drops or
culls them, and any may be gone between two steps, with its locks and with nothing put away. What is
taken is what the inodes say, also those that have no name any more and are open.
"""

from __future__ import annotations

import errno
import os
import shutil
import stat
import subprocess
import sys
import tempfile
from contextlib import suppress
from pathlib import Path

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule

from cachefiles import BLOCK, Cache, CacheError, Culler, Faults, Limits, Step
from cachefiles import object as object_module
from cachefiles.admin.command import main
from cachefiles.limits import MIB, Excess
from tests.cachefiles.conftest import content_of, page_aligned

KEYS = (b"one", b"two", b"three")
BLOCKS = 24
SIZE = BLOCKS * BLOCK
LIMIT = 4 * MIB
CONTENT = page_aligned(SIZE, content_of(SIZE))


def taken(directory: Path) -> int:
    """Bytes on disk of the cache's files: of those with a name, and of those open here."""
    inodes = {}
    for place in ("volumes", "graveyard"):
        for path in (directory / place).rglob("*"):
            about = path.lstat()
            inodes[about.st_ino] = about
    device = directory.stat().st_dev
    for name in os.listdir("/proc/self/fd"):
        try:
            about = os.stat(f"/proc/self/fd/{name}")
            where = os.readlink(f"/proc/self/fd/{name}")
        except OSError:  # the listing's own
            continue
        ours = (f"{directory}/volumes/", f"{directory}/graveyard/")
        if about.st_dev == device and where.startswith(ours):
            inodes[about.st_ino] = about
    return sum(each.st_blocks * 512 for each in inodes.values() if stat.S_ISREG(each.st_mode))


def test_an_object_made_in_part_is_freed_once(tmp_path):
    """On a disk where its records take a block, which its grave gives back, and nothing else."""
    faults = Faults()
    cache = Cache.bind(tmp_path / "cache", limits=Limits(cachesize=64 * MIB), faults=faults)
    volume = cache.volume(b"v")

    def file(name):
        return volume.open(name, SIZE, b"r" * 200, label=b"l" * 900)[0]

    kept = [file(b"kept%d" % number) for number in range(3)]
    for each in kept:
        each.write(0, CONTENT[:BLOCK])
    for number in range(100):
        half = file(b"%d" % number)
        faults.fail("create", errno.EMFILE, 2)
        with suppress(CacheError):
            half.write(0, CONTENT[:BLOCK])
        faults.heal()
        half.close()
    assert cache.space.count().used >= taken(tmp_path / "cache")
    for each in kept:
        each.close()
    cache.close()


class Accounting(RuleBasedStateMachine):
    """Three caches, three files of 24 blocks, a limit of less than all of them."""

    @initialize()
    def start(self):
        self.folder = Path(tempfile.mkdtemp(dir="/dev/shm"))
        self.check = object_module.NAME_CHECK
        object_module.NAME_CHECK = 0.0
        self.generation = dict.fromkeys(KEYS, 0)
        self.caches = [self.bind() for _ in range(3)]
        self.held = {}

    def bind(self):
        return Cache.bind(self.folder / "cache", limits=Limits(cachesize=LIMIT))

    def teardown(self):
        if hasattr(self, "folder"):
            object_module.NAME_CHECK = self.check
            for file in self.held.values():
                file.close()
            for cache in self.caches:
                cache.close()
            self.bind().close()
            assert os.listdir(self.folder / "cache/graveyard") == []
            shutil.rmtree(self.folder)

    who = st.integers(0, 2)
    keys = st.sampled_from(KEYS)

    @rule(who=who, key=keys, first=st.integers(0, BLOCKS - 1), count=st.integers(1, BLOCKS))
    def store(self, who, key, first, count):
        file = self.file(who, key)
        start, end = first * BLOCK, min(first + count, BLOCKS) * BLOCK
        file.write(start, CONTENT[start:end])

    def file(self, who, key):
        if (who, key) not in self.held:
            generation = b"g%d" % self.generation[key]
            self.held[who, key] = self.caches[who].volume(b"v").open(key, SIZE, generation)[0]
        return self.held[who, key]

    @rule(who=who, key=keys)
    def change_on_the_server(self, who, key):
        """One process hears of it; the others go on with what they hold."""
        self.generation[key] += 1
        self.let_go(who, key)
        self.file(who, key)

    @rule(who=who, key=keys)
    def let_go(self, who, key):
        if (who, key) in self.held:
            self.held.pop((who, key)).close()

    @rule(who=who, key=keys)
    def invalidate(self, who, key):
        self.file(who, key).invalidate()

    @rule(who=who, size=st.integers(0, LIMIT))
    def cull(self, who, size):
        space = self.caches[who].space
        self.run_culler(who, lambda: Excess(max(0, space.count().used - size)))

    @rule(who=who)
    def maintain(self, who):
        self.run_culler(who, None)

    def run_culler(self, who, excess):
        culler = Culler(self.caches[who], excess, recount=excess is not None)
        while culler.step(1) is Step.MORE:
            pass

    @rule(who=who, other=who)
    def recount_while_another_drops(self, who, other):
        """Between the walk over the volumes and its end."""
        culler = Culler(self.caches[who], lambda: Excess(0), recount=True)
        state = culler.step(0)
        for key in KEYS:
            self.let_go(other, key)
            self.file(other, key).invalidate()
        while state is Step.MORE:
            state = culler.step(1)

    @rule(who=who)
    def crash(self, who):
        """As far as the others can see it is gone, and what it had in mind with it."""
        for key in KEYS:
            if (who, key) in self.held:
                self.held.pop((who, key)).shut()
        cache = self.caches[who]
        cache._space._batch = cache._space._freed = 0
        cache.close()
        self.caches[who] = self.bind()

    @invariant()
    def nothing_is_uncounted(self):
        if hasattr(self, "folder"):
            now = taken(self.folder / "cache")
            assert now <= counted(self.caches[0])
            assert now <= LIMIT


TestAccounting = Accounting.TestCase
TestAccounting.settings = settings(deadline=None, max_examples=60, stateful_step_count=40)


def open_file(cache, coherency=b"1"):
    return cache.volume(b"v").open(b"k", SIZE, coherency)[0]


def filled(cachedir):
    """A cache that holds one file, open."""
    cache = Cache.bind(cachedir, limits=Limits(cachesize=2 * MIB))
    file = open_file(cache)
    assert file.write(0, CONTENT)
    assert counted(cache) >= SIZE  # and nothing is set aside any more
    return cache, file


def cull(cache):
    culler = Culler(cache)
    while culler.step(1) is Step.MORE:
        pass


def counted(cache):
    count = cache.space.count()
    return count.used + count.aside


@pytest.mark.parametrize("way", ["replaced", "dropped", "invalidated"])
def test_what_another_holds_open_counts_until_it_is_closed(cachedir, way):
    theirs, held = filled(cachedir)
    ours = Cache.bind(cachedir, limits=Limits(cachesize=2 * MIB))
    if way == "replaced":
        open_file(ours, b"2").close()
    elif way == "invalidated":
        open_file(ours).invalidate()
    else:
        with pytest.raises(SystemExit) as ended:
            main(["--cachedir", str(cachedir), "drop", "--all"])
        assert ended.value.code == 0
    assert held.buried
    assert counted(ours) >= taken(cachedir) >= SIZE
    target = memoryview(bytearray(SIZE))
    assert held.read(0, target)  # nobody wants the room yet
    assert target == CONTENT
    assert not held.write(0, CONTENT) or object_module.NAME_CHECK
    held.close()
    theirs.close()
    Culler(ours).step(1)
    assert taken(cachedir) == 0
    assert ours.space.count().used < BLOCK
    ours.close()


def test_what_is_buried_and_held_makes_room_when_it_is_wanted(cachedir):
    theirs, held = filled(cachedir)
    ours = Cache.bind(cachedir, limits=Limits(cachesize=2 * MIB))
    new = open_file(ours, b"2")
    half = SIZE // 2
    for at in (0, half):
        if not new.write(at, CONTENT[at : at + half]):
            cull(ours)
            assert new.write(at, CONTENT[at : at + half])
        assert taken(cachedir) <= 2 * MIB
    assert not held.read(0, memoryview(bytearray(SIZE)))
    held.close()
    new.close()
    theirs.close()
    ours.close()


def test_a_process_killed_between_burying_and_freeing(cachedir):
    cache, file = filled(cachedir)
    file.close()
    script = (
        "import os, pathlib, signal, sys\n"
        "from cachefiles import Cache, graveyard\n"
        "volume = Cache.bind(pathlib.Path(sys.argv[1])).volume(b'v')\n"
        "graveyard.Graveyard.settle = lambda *_: os.kill(os.getpid(), signal.SIGKILL)\n"
        "volume.open(b'k', 1, b'2')\n"
    )
    subprocess.run([sys.executable, "-c", script, cachedir], check=False)
    assert not list(cachedir.glob("volumes/*/*/*"))
    assert counted(cache) >= taken(cachedir) >= SIZE
    cache.close()
    cache = Cache.bind(cachedir)
    assert taken(cachedir) == 0
    assert cache.space.count().used < BLOCK
    cache.close()


@pytest.mark.parametrize("by_another", [False, True])
def test_what_is_being_written_during_a_recount_is_counted(cachedir, monkeypatch, by_another):
    """Charged before the walk, and on the disk only after the walk has passed."""
    theirs, file = filled(cachedir)
    ours = Cache.bind(cachedir, limits=Limits(cachesize=2 * MIB)) if by_another else theirs
    other = theirs.volume(b"v").open(b"other", 6 * BLOCK, b"1")[0]
    file.invalidate()
    plain = theirs.filesystem.write_some

    def late(fd, data, offset):
        if len(data) == 6 * BLOCK:
            assert Culler(ours, lambda: Excess(0), recount=True).step(10) is Step.DONE
        return plain(fd, data, offset)

    monkeypatch.setattr(theirs.filesystem, "write_some", late)
    assert other.write(0, memoryview(bytes(CONTENT[: 6 * BLOCK])))
    assert counted(ours) >= taken(cachedir) >= 6 * BLOCK
    theirs.space.count()
    assert counted(ours) >= taken(cachedir)
    assert ours.space.count().used <= taken(cachedir) + 8 * BLOCK
    for each in (other, file):
        each.close()
    for cache in {ours, theirs}:
        cache.close()


def test_what_was_freed_before_a_recount_is_not_given_back_after_it(cachedir):
    """Two processes: one frees, the other counts anew, the first puts its part into the count."""
    theirs, file = filled(cachedir)
    ours = Cache.bind(cachedir, limits=Limits(cachesize=8 * MIB))
    other = ours.volume(b"v").open(b"other", SIZE, b"1")[0]
    assert other.write(0, CONTENT)
    file.invalidate()
    Culler(ours, lambda: Excess(0), recount=True).step(10)
    theirs.space.count()
    assert counted(ours) >= taken(cachedir) >= SIZE
    other.close()
    theirs.close()
    ours.close()
