"""Which blocks need no second hash, against a set."""

from __future__ import annotations

import os

from hypothesis import given
from hypothesis import strategies as st

from cachefiles import BLOCK, Cache, Verify, verified
from cachefiles import blocks as blocks_module
from cachefiles.verified import RACY, Verified
from tests.cachefiles.conftest import SIZE, backing_files, content_of, read_all

CONTENT = content_of(SIZE)
spans = st.tuples(st.integers(0, 1500), st.integers(1, 600))
LATER = 10**18


@given(st.lists(st.tuples(spans, st.integers(1, 3))))
def test_it_is_a_set_that_a_change_empties(steps):
    bits = Verified()
    model: set[int] = set()
    state = 0
    for (first, count), changed in steps:
        if changed != state:
            model, state = set(), changed
        bits.add(first, count, changed, LATER)
        model |= set(range(first, first + count))
        for start, length in ((first, count), (max(0, first - 1), count), (first, count + 1)):
            expected = set(range(start, start + length)) <= model
            assert bits.covers(start, length, changed) == expected
        assert not bits.covers(first, count, changed + 1)


def test_what_changed_just_now_proves_nothing():
    bits = Verified()
    bits.add(0, 1, 1000, 1000 + RACY - 1)
    assert not bits.covers(0, 1, 1000)
    bits.add(0, 1, 1000, 1000 + RACY)
    assert bits.covers(0, 1, 1000)


def test_memory_is_bounded():
    bits = Verified()
    for page in range(1000):
        bits.add(page * 512, 512, 1, LATER)
    assert len(bits._pages) == 64
    assert bits.covers(999 * 512, 512, 1)
    assert not bits.covers(0, 1, 1)


def hashes_of(monkeypatch, verify, cachedir):
    """How often blocks are hashed in two reads of a file that nobody changed for long."""
    monkeypatch.setattr(verified, "RACY", -(10**12))
    cache = Cache.bind(cachedir, verify=verify)
    file, _ = cache.volume(b"v").open(b"k", SIZE, b"c")
    if not file.has_files:
        assert file.write(0, CONTENT)
    calls = []
    plain = blocks_module.block_hashes

    def counted(seed, first, data):
        calls.append(first)
        return plain(seed, first, data)

    monkeypatch.setattr(blocks_module, "block_hashes", counted)
    for _ in range(2):
        assert read_all(file) == CONTENT
    return cache, file, len(calls)


def test_open_hashes_once_and_again_after_a_change(monkeypatch, cachedir):
    cache, file, hashed = hashes_of(monkeypatch, Verify.OPEN, cachedir)
    assert hashed == 1
    data, _ = backing_files(cachedir)
    fd = os.open(data, os.O_RDWR)
    os.pwrite(fd, bytes([CONTENT[5] ^ 1]), 5)
    os.close(fd)
    assert read_all(file) is None
    file.close()
    cache.close()


def test_always_and_never(monkeypatch, cachedir):
    cache, file, hashed = hashes_of(monkeypatch, Verify.ALWAYS, cachedir)
    assert hashed == 2
    file.close()
    cache.close()
    monkeypatch.undo()
    cache, file, hashed = hashes_of(monkeypatch, Verify.NEVER, cachedir)
    assert hashed == 0
    assert file.write(0, CONTENT[:BLOCK])
    assert read_all(file) == CONTENT
    file.close()
    cache.close()
