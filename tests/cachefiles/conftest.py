"""Cache directories on the disk and in memory, and a file's content to put into them."""

from __future__ import annotations

import mmap
import random
import shutil
import tempfile
from pathlib import Path

import pytest
from hypothesis import strategies as st

from cachefiles import BLOCK, Cache


@pytest.fixture(params=["disk", "tmpfs"])
def cachedir(request, tmp_path):
    """A directory that does not exist yet, on two kinds of filesystem."""
    if request.param == "disk":
        yield tmp_path / "cache"
        return
    memory = Path(tempfile.mkdtemp(dir="/dev/shm"))
    yield memory / "cache"
    shutil.rmtree(memory)


@pytest.fixture
def cache(cachedir):
    bound = Cache.bind(cachedir)
    yield bound
    bound.close()


@pytest.fixture
def volume(cache):
    return cache.volume(b"//server:445/share")


def content_of(size: int, seed: int = 1) -> memoryview:
    return memoryview(random.Random(seed).randbytes(size))


def page_aligned(size: int, content: memoryview | bytes = b"") -> memoryview:
    """Writable memory that begins on a page, as the buffers of a mount do; may go to a disk."""
    memory = memoryview(mmap.mmap(-1, max(size, 1)))[:size]
    memory[: len(content)] = content
    return memory


def read_all(file) -> bytes | None:
    """The whole file from the cache, or None."""
    target = memoryview(bytearray(file.size))
    return bytes(target) if file.read(0, target) else None


def backing_files(cachedir: Path) -> tuple[Path, Path]:
    """The backing file and the map of the only object."""
    files = sorted(path for path in cachedir.glob("volumes/*/*/*"))
    assert len(files) == 2, files
    return files[0], files[1]


SIZE = 4 * BLOCK + 1000


def damaged(raw: bytes, data: st.DataObject) -> bytes:
    """``raw`` with one bit flipped, or cut short."""
    if data.draw(st.booleans()):
        at = data.draw(st.integers(0, len(raw) - 1))
        flipped = raw[at] ^ 1 << data.draw(st.integers(0, 7))
        return raw[:at] + bytes([flipped]) + raw[at + 1 :]
    return raw[: data.draw(st.integers(0, len(raw) - 1))]
