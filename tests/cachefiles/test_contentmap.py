"""The map against a dict, through a side file in memory."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cachefiles.contentmap import (
    BLOCK,
    PAGE_ENTRIES,
    PAGES_KEPT,
    ContentMap,
    block_count,
    block_hashes,
    seed_of,
)

BLOCKS = PAGE_ENTRIES * (PAGES_KEPT + 3) + 5
SIZE = (BLOCKS - 1) * BLOCK + 1


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


@given(st.lists(st.tuples(st.sampled_from(["put", "clear", "ask", "reopen"]), ranges)))
@settings(deadline=None, max_examples=30)
def test_it_is_a_dict_of_entries(steps):
    side = SideFile()
    content = ContentMap(SIZE, side.load, side.store, fresh=True)
    model: dict[int, int] = {}
    for number, (step, (first, count)) in enumerate(steps, start=1):
        span = range(first, first + count)
        if step == "put":
            content.put(first, [number * 100_000 + block for block in span])
            model |= {block: number * 100_000 + block for block in span}
        elif step == "clear":
            content.clear(span)
            for block in span:
                model.pop(block, None)
        elif step == "reopen":
            content = ContentMap(SIZE, side.load, side.store, fresh=False)
        else:
            assert content.entries(first, count) == [model.get(block, 0) for block in span]
    again = ContentMap(SIZE, side.load, side.store, fresh=False)
    assert again.entries(0, BLOCKS) == [model.get(block, 0) for block in range(BLOCKS)]


def test_a_fresh_map_is_known_to_be_empty_without_reading():
    side = SideFile()
    content = ContentMap(1 << 40, side.load, side.store, fresh=True)
    assert content.entries(12_345_678, 512) == [0] * 512
    content.put(3, [7])
    assert content.entries(0, 5) == [0, 0, 0, 7, 0]
    assert content.entries(12_345_678, 512) == [0] * 512
    assert side.loads == 1


def test_pages_are_kept_and_bounded():
    side = SideFile()
    content = ContentMap(SIZE, side.load, side.store, fresh=False)
    for _ in range(3):
        content.entries(0, PAGE_ENTRIES)
    assert side.loads == 1
    content.entries(0, BLOCKS)
    assert len(content._pages) == PAGES_KEPT


def test_a_small_file_has_a_small_page():
    side = SideFile()
    content = ContentMap(100, side.load, side.store, fresh=False)
    assert content.entries(0, 1) == [0]
    assert len(content._pages[0]) == 8


def test_a_torn_entry_at_the_end_is_not_stored():
    side = SideFile()
    content = ContentMap(SIZE, side.load, side.store, fresh=True)
    content.put(0, [1 << 63, 1 << 63 | 1])
    del side.bytes[13:]
    again = ContentMap(SIZE, side.load, side.store, fresh=False)
    assert again.entries(0, 3) == [1 << 63, 0, 0]


def test_failed_put_changes_nothing_and_failed_clear_clears():
    side = SideFile()
    content = ContentMap(SIZE, side.load, side.store, fresh=True)
    content.put(0, [5, 6])
    content.entries(0, 2)
    side.broken = True
    with pytest.raises(OSError, match="broken"):
        content.put(0, [8])
    assert content.entries(0, 2) == [5, 6]
    with pytest.raises(OSError, match="broken"):
        content.clear([1])
    assert content.entries(0, 2) == [5, 0]


def test_hashes_differ_by_content_place_and_seed():
    data = memoryview(bytes(3 * BLOCK + 10))
    hashes = block_hashes(seed_of(b"v", b"k", b"r"), 0, data)
    assert len(set(hashes)) == 4 == len(hashes)
    assert hashes[1:] == block_hashes(seed_of(b"v", b"k", b"r"), 1, data[BLOCK:])
    for other in (seed_of(b"v", b"k", b"s"), seed_of(b"vk", b"", b"r"), seed_of(b"v", b"kr", b"")):
        assert not set(hashes) & set(block_hashes(other, 0, data))


def test_a_hash_of_zero_is_kept_as_one(monkeypatch):
    monkeypatch.setattr("cachefiles.contentmap.xxhash.xxh3_64_intdigest", lambda data, seed: 0)
    assert block_hashes(1, 0, memoryview(b"x")) == [1]


def test_hashes_are_stable_since_they_are_on_disk():
    seed = seed_of(b"//server:445/share", b"id:0000000000000011", b"record")
    assert (seed, block_hashes(seed, 7, memoryview(b"abc"))) == (
        10496678582639198242,
        [18324131897064621057],
    )


def test_block_count():
    sizes = (0, 1, BLOCK, BLOCK + 1)
    assert [block_count(size) for size in sizes] == [0, 1, 1, 2]
