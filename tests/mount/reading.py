"""Ways of reading a file on the mount, and what must come out.

Every byte of the sample files is known from the server's own disk. Reads go the two ways a program
can take: through the kernel's pages (``direct=False``), and past them (``O_DIRECT``).
"""

from __future__ import annotations

import hashlib
import mmap
import os
import subprocess
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from itertools import permutations
from pathlib import Path
from random import Random

from netfsfuse.lab.server import data
from netfsfuse.lab.server.samba import PrivateSamba
from tests.support.mounted import Mounted

MIB = 1024 * 1024
BIG = 256 * MIB
WAYS = (False, True)
_RUN_SECONDS = 100.0


def big_file(samba: PrivateSamba) -> Path:
    """The 256 MiB file on the server's disk, made by the first who asks. Nobody may change it."""
    path = samba.path / "big-256"
    if not path.exists():
        data.write_file(path, BIG)
    return path


@contextmanager
def opened(path: Path, *, direct: bool = False) -> Iterator[int]:
    """A descriptor for reading."""
    fd = os.open(path, os.O_RDONLY | (os.O_DIRECT if direct else 0))
    try:
        yield fd
    finally:
        os.close(fd)


def forget_pages(*paths: Path) -> None:
    """The kernel gives away the clean pages of these files: the next read asks the mount again."""
    for path in paths:
        with opened(path) as fd:
            os.posix_fadvise(fd, 0, 0, os.POSIX_FADV_DONTNEED)


def pread(fd: int, start: int, size: int) -> bytes:
    """``[start, start + size)`` by one system call, into memory as O_DIRECT wants it."""
    with mmap.mmap(-1, max(size, 1)) as target:
        got = os.preadv(fd, [memoryview(target)[:size]], start)
        return target[:got]


def content(path: Path, *, direct: bool = False) -> bytes:
    """The whole file as a fresh open sees it, read to its end whatever ``stat`` says."""
    pieces = []
    with opened(path, direct=direct) as fd:
        position = 0
        while piece := pread(fd, position, MIB):
            pieces.append(piece)
            position += len(piece)
    return b"".join(pieces)


def sha256(path: Path) -> str:
    """Of a file on the server's disk."""
    with path.open("rb", buffering=0) as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def dd(path: Path, *, direct: bool = False, block: str = "1M") -> subprocess.Popen[bytes]:
    """``dd bs=1M`` of a file, on its way; :func:`digest` waits for it."""
    flags = ["iflag=direct"] if direct else []
    return subprocess.Popen(
        ["dd", f"if={path}", f"bs={block}", "status=none", *flags], stdout=subprocess.PIPE
    )


def digest(reader: subprocess.Popen[bytes]) -> str:
    """The SHA-256 of everything that a reader writes; its exit status must be 0."""
    with reader:
        assert reader.stdout is not None
        seen = hashlib.sha256()
        while piece := reader.stdout.read(MIB):
            seen.update(piece)
    assert reader.returncode == 0
    return seen.hexdigest()


def compare(here: Path, there: Path) -> None:
    """``cmp`` of two files; it says at which byte they differ."""
    _quietly("cmp", here, there)


def compare_trees(here: Path, there: Path) -> None:
    """``diff -r`` of two folders: the same names, the same bytes."""
    _quietly("diff", "-rq", here, there)


def _quietly(*words: str | Path) -> None:
    result = subprocess.run(
        [str(word) for word in words],
        capture_output=True,
        text=True,
        timeout=_RUN_SECONDS,
        check=False,
    )
    assert (result.returncode, result.stdout, result.stderr) == (0, "", "")


def check_ranges(here: Path, there: Path, *, direct: bool, seed: int, count: int = 40) -> int:
    """Read ``count`` random ranges of the file ``here`` by one descriptor; each must be whole and
    what ``there`` holds. Returns how many bytes that were.
    """
    random = Random(seed)
    size = there.stat().st_size
    done = 0
    with opened(there) as truth, opened(here, direct=direct) as fd:
        for _ in range(count):
            start = random.randrange(size)
            length = random.choice((1, 4096, 65536, 100_000, MIB, 3 * MIB // 2))
            got = pread(fd, start, length)
            assert got == os.pread(truth, length, start), (here.name, start, length)
            done += len(got)
    return done


def wait_settled(path: Path) -> None:
    """Wait until the file's last change lies so far back that its times prove something: what is
    read of a file changed within the last 50 ms is not kept.
    """
    while time.time_ns() < path.stat().st_ctime_ns + 70_000_000:
        time.sleep(0.005)


def tell_cached(mounted: Mounted, path: Path) -> int:
    """How many bytes one read of the whole file fetches from the server."""
    before = mounted.stats()["server"]["bytes"]
    content(path)
    fetched: int = mounted.stats()["server"]["bytes"] - before
    return fetched


def is_own(piece: bytes, at: int, versions: Sequence[bytes]) -> bool:
    """Whether bytes read at ``at`` stand there in a version of the file, or up to some byte in one
    and from there on in another: a server that reads a page while it is written may see that.
    """
    parts = [version[at : at + len(piece)] for version in versions]
    if piece in parts:
        return True
    for first, second in permutations(parts, 2):
        pairs = enumerate(zip(piece, first, strict=False))
        same = next((n for n, (got, there) in pairs if got != there), min(len(piece), len(first)))
        if piece[same:] == second[same:]:
            return True
    return False
