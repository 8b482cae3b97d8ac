"""Whatever happens to the cache's files, the mount yields right data: never a zero, a flipped byte,
or a block from elsewhere. And a bad block costs its own refetch only.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

from cachefiles.coherency import RECORD_XATTR
from cachefiles.key import MAP_SUFFIX, file_name, object_path
from netfsfuse.fscache.cookie import volume_key
from netfsfuse.lab.server import data
from netfsfuse.lab.server.samba import PrivateSamba
from tests.mount.reading import (
    WAYS,
    compare,
    content,
    forget_pages,
    opened,
    pread,
    tell_cached,
    wait_settled,
)
from tests.support.mounted import Mounted

Mount = Callable[..., Mounted]

BLOCK = 65536
SIZE = 16 * BLOCK - 100
HALF = 8 * BLOCK


def backing(mounted: Mounted, there: Path) -> Path:
    """The backing file of a file on the server's disk; its map stands beside it."""
    volume = file_name(volume_key(mounted.samba.host, mounted.samba.port, mounted.samba.share))
    where = os.fsencode(there.relative_to(mounted.samba.path))
    key = b"id:%016x:/%s" % (there.stat().st_ino, where)  # of a file made on the server's own disk
    path = mounted.cachedir / "volumes" / volume / object_path(key)
    assert path.is_file(), there
    return path


def map_of(file: Path) -> Path:
    return file.with_name(file.name + MAP_SUFFIX)


def flip(path: Path, *offsets: int) -> None:
    with path.open("r+b") as file:
        for offset in offsets:
            file.seek(offset)
            old = file.read(1)
            file.seek(offset)
            file.write(bytes([old[0] ^ 0x10]))


def swap_blocks(path: Path) -> None:
    with path.open("r+b") as file:
        first, second = file.read(BLOCK), file.read(BLOCK)
        file.seek(0)
        file.write(second + first)


def put(path: Path, offset: int, piece: bytes) -> None:
    with path.open("r+b") as file:
        file.seek(offset)
        file.write(piece)


def damage_record(path: Path) -> None:
    record = bytearray(os.getxattr(path, RECORD_XATTR))
    record[-3] ^= 1
    os.setxattr(path, RECORD_XATTR, bytes(record))


def swap_files(one: Path, other: Path) -> None:
    saved = one.read_bytes()
    one.write_bytes(other.read_bytes())
    other.write_bytes(saved)


WHOLE: dict[str, Callable[[Path], object]] = {
    "one byte flipped": lambda file: flip(file, 3 * BLOCK + 17),
    "one byte in each block flipped": lambda file: flip(file, *range(5, SIZE, BLOCK)),
    "last byte flipped": lambda file: flip(file, SIZE - 1),
    "zeroed block": lambda file: put(file, 2 * BLOCK, bytes(BLOCK)),
    "torn block": lambda file: put(file, 2 * BLOCK, bytes(4096)),
    "two blocks swapped": swap_blocks,
    "data truncated": lambda file: os.truncate(file, 5 * BLOCK + 1234),
    "data emptied": lambda file: os.truncate(file, 0),
    "data too long": lambda file: put(file, SIZE + 7, b"more"),
    "data removed": Path.unlink,
    "data and map removed": lambda file: (file.unlink(), map_of(file).unlink()),
    "data is a folder": lambda file: (file.unlink(), file.mkdir()),
    "map byte flipped": lambda file: flip(map_of(file), 3 * 8 + 2),
    "map flipped all over": lambda file: flip(map_of(file), *range(15 * 8)),
    "map entries swapped": lambda file: put(
        map_of(file), 0, map_of(file).read_bytes()[8:16] + map_of(file).read_bytes()[:8]
    ),
    "map truncated in an entry": lambda file: os.truncate(map_of(file), 4 * 8 + 3),
    "map emptied": lambda file: os.truncate(map_of(file), 0),
    "map removed": lambda file: map_of(file).unlink(),
    "map too long": lambda file: put(map_of(file), 16 * 8, b"\xff" * 100),
    "record damaged": damage_record,
    "record removed": lambda file: os.removexattr(file, RECORD_XATTR),
}
"""What is done to the two files of a file that is cached whole."""


def zero_block(file: Path) -> None:
    """What an extent filesystem may do: bridge a hole with zeros."""
    put(file, HALF + 2 * BLOCK, bytes(BLOCK))


PARTLY: dict[str, Callable[[Path], object]] = {
    "zero block in the hole": zero_block,
    "zeros in the whole hole": lambda file: put(file, HALF, bytes(SIZE - HALF)),
    "zero block, and a map entry of 1": lambda file: (
        zero_block(file),
        put(map_of(file), (HALF // BLOCK + 2) * 8, b"\x01" + bytes(7)),
    ),
    "zero block, and another's map entry": lambda file: (
        zero_block(file),
        put(map_of(file), (HALF // BLOCK + 2) * 8, map_of(file).read_bytes()[:8]),
    ),
    "another's block and its map entry": lambda file: (
        put(file, HALF, file.read_bytes()[:BLOCK]),
        put(map_of(file), HALF // BLOCK * 8, map_of(file).read_bytes()[:8]),
    ),
}
"""What is done to the two files of a file of which the first half is cached."""


def test_damaged_cache_files_never_yield_a_wrong_byte(samba: PrivateSamba, mount: Mount) -> None:
    """Damage between two mounts. Each file is right afterwards, both ways, and cached again."""
    mounted = mount(samba)
    folder = samba.path / "tampered"
    folder.mkdir()
    for name in [*WHOLE, *PARTLY, "untouched", "exchanged 1", "exchanged 2"]:
        data.write_file(folder / name, SIZE, seed=name)
    wait_settled(folder / "exchanged 2")
    files = {there: mounted.path / "tampered" / there.name for there in folder.iterdir()}
    for there, here in files.items():
        with opened(here, direct=True) as fd:
            assert pread(fd, 0, HALF if there.name in PARTLY else SIZE)

    mounted.umount()
    for name, damage in (WHOLE | PARTLY).items():
        file = backing(mounted, folder / name)
        assert (file.stat().st_size > HALF) == (name in WHOLE)
        damage(file)
    swap_files(*(backing(mounted, folder / f"exchanged {n}") for n in (1, 2)))
    mounted.mount()

    assert tell_cached(mounted, files[folder / "one byte flipped"]) == BLOCK
    assert tell_cached(mounted, files[folder / "two blocks swapped"]) == 2 * BLOCK
    for there, here in files.items():
        for direct in WAYS:
            assert content(here, direct=direct) == there.read_bytes(), there.name
    stats = mounted.stats()
    assert stats["application"]["errors"] == 0
    assert stats["cache"]["bytes_read"] > 0
    assert stats["server"]["bytes"] < len(files) * SIZE * 3 // 4

    mounted.remount()
    for there, here in files.items():
        compare(here, there)
    repaired = (len(files) - 1) * SIZE  # where a folder lies in the way nothing can be stored
    assert mounted.stats()["server"]["bytes"] <= len(files) * SIZE - repaired


def test_damage_under_a_living_mount(samba: PrivateSamba, mount: Mount) -> None:
    """The same while the mount has the file open: the proof is in each read, not in the open."""
    there = samba.path / "tampered-live"
    data.write_file(there, SIZE, seed="live")
    wait_settled(there)
    mounted = mount(samba)
    here = mounted.path / there.name
    assert content(here) == there.read_bytes()
    mounted.remount()
    with opened(here, direct=True) as fd:
        assert pread(fd, 0, BLOCK) == there.read_bytes()[:BLOCK]
        file = backing(mounted, there)
        flip(file, 4 * BLOCK + 1)
        flip(map_of(file), 6 * 8)
        for start in range(0, SIZE, BLOCK):
            assert pread(fd, start, BLOCK) == there.read_bytes()[start : start + BLOCK]
        forget_pages(here)
        os.truncate(file, 0)
        assert pread(fd, 0, SIZE) == there.read_bytes()
    assert content(here) == there.read_bytes()
    assert mounted.stats()["application"]["errors"] == 0
