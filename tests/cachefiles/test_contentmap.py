"""The map against a dict, through a side file in memory."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cachefiles.contentmap import (
    BLOCK,
    ContentMap,
    block_count,
    block_hashes,
)
from cachefiles.generation import seed_of

BLOCKS = 5637


class SideFile:
    def __init__(self):
        self.bytes = bytearray()
        self.loads = 0
        self.broken = False

    def load(self, offset, page):
        self.loads += 1
        part = self.bytes[offset : offset + len(page)]
        page[: len(part)] = part
        return len(part)

    def store(self, offset, entries):
        if self.broken:
            raise OSError(5, "broken")
        self.bytes.extend(bytes(max(0, offset + len(entries) - len(self.bytes))))
        self.bytes[offset : offset + len(entries)] = entries


ranges = st.tuples(st.integers(0, BLOCKS - 1), st.integers(1, 600)).map(
    lambda pair: (pair[0], min(pair[1], BLOCKS - pair[0]))
)


@given(st.lists(st.tuples(st.sampled_from(["put", "clear", "clear_if", "ask"]), ranges)))
@settings(deadline=None, max_examples=30)
def test_it_is_a_dict_of_entries(steps):
    """Seen through two of them, as two processes see one side file."""
    side = SideFile()
    ours, theirs = (ContentMap(side.load, side.store) for _ in range(2))
    model: dict[int, int] = {}
    for number, (step, (first, count)) in enumerate(steps, start=1):
        span = range(first, first + count)
        if step == "put":
            ours.put(first, [number * 100_000 + block for block in span])
            model |= {block: number * 100_000 + block for block in span}
        elif step == "clear":
            theirs.clear(first, count)
            for block in span:
                model.pop(block, None)
        elif step == "clear_if":
            believed = {block: model.get(block, 0) + block % 2 for block in span[:20]}
            ours.clear_if(believed.items())
            model = {block: entry for block, entry in model.items() if believed.get(block) != entry}
        else:
            assert theirs.entries(first, count) == [model.get(block, 0) for block in span]
    assert ours.entries(0, BLOCKS) == [model.get(block, 0) for block in range(BLOCKS)]


def test_it_reads_what_is_asked_for_and_no_more():
    side = SideFile()
    content = ContentMap(side.load, side.store)
    assert content.entries(12_345_678, 512) == [0] * 512
    content.put(3, [7])
    assert content.entries(0, 5) == [0, 0, 0, 7, 0]
    assert side.loads == 2


def test_a_torn_entry_at_the_end_is_not_stored():
    side = SideFile()
    content = ContentMap(side.load, side.store)
    content.put(0, [1 << 63, 1 << 63 | 1])
    del side.bytes[13:]
    assert content.entries(0, 3) == [1 << 63, 0, 0]


def test_a_failed_put_or_clear_changes_nothing():
    side = SideFile()
    content = ContentMap(side.load, side.store)
    content.put(0, [5, 6])
    side.broken = True
    with pytest.raises(OSError, match="broken"):
        content.put(0, [8])
    with pytest.raises(OSError, match="broken"):
        content.clear(1, 1)
    assert content.entries(0, 2) == [5, 6]


def test_hashes_differ_by_content_place_and_seed():
    data = memoryview(bytes(3 * BLOCK + 10))
    hashes = block_hashes(seed_of(b"v", b"k", 1), 0, data)
    assert len(set(hashes)) == 4 == len(hashes)
    assert hashes[1:] == block_hashes(seed_of(b"v", b"k", 1), 1, data[BLOCK:])
    for other in (seed_of(b"v", b"k", 2), seed_of(b"vk", b"", 1), seed_of(b"", b"vk", 1)):
        assert not set(hashes) & set(block_hashes(other, 0, data))


def test_a_hash_of_zero_is_kept_as_one(monkeypatch):
    monkeypatch.setattr("cachefiles.contentmap.xxhash.xxh3_64_intdigest", lambda data, seed: 0)
    assert block_hashes(1, 0, memoryview(b"x")) == [1]


def test_hashes_are_stable_since_they_are_on_disk():
    seed = seed_of(b"//server:445/share", b"id:0000000000000011", 0x0123456789ABCDEF)
    assert (seed, block_hashes(seed, 7, memoryview(b"abc"))) == (
        17058102781972229941,
        [17796946448464298023],
    )


def test_block_count():
    sizes = (0, 1, BLOCK, BLOCK + 1)
    assert [block_count(size) for size in sizes] == [0, 1, 1, 2]
