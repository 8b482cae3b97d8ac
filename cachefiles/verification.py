"""Hash every stored block of a cache, and mend what can be mended: by forgetting it.

Works beside mounts. What changes between the look at the map and at the data is looked at again.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable
from dataclasses import dataclass

from cachefiles import walk
from cachefiles.cache import Cache
from cachefiles.contentmap import BLOCK, ENTRY, block_hashes, seed_of
from cachefiles.folder import Folder
from cachefiles.key import MAP_SUFFIX
from cachefiles.survey import Opened, folders, opened


@dataclass(slots=True)
class Verdict:
    """Counts: objects and blocks looked at, what was wrong, what could not be told, mended."""

    objects: int = 0
    blocks: int = 0
    bad: int = 0
    unknown: int = 0
    mended: int = 0


def verify(
    cache: Cache,
    chosen: Callable[[str, str], bool],
    say: Callable[[str], None],
    advance: Callable[[int], None],
    *,
    repair: bool,
) -> Verdict:
    """Verify the objects for which ``chosen(volume name, object name)``. ``say`` gets a line for
    each that is wrong, ``advance`` the bytes done."""
    verdict = Verdict()
    for folder_fd, volume, key in folders(cache):
        folder = Folder(cache.filesystem, folder_fd, cache.space)
        for entry in walk.objects(cache.filesystem, folder_fd):
            name = entry.path.rpartition("/")[2]
            if not chosen(volume, name):
                continue
            verdict.objects += 1
            if entry.size is None:
                _unusable(folder, entry.path, "a map without data", say, verdict, repair=repair)
                continue
            try:
                files = opened(folder_fd, volume, key, entry.path)
            except FileNotFoundError:
                continue
            try:
                wrong = files.wrong(name)
                if wrong is not None:
                    _unusable(folder, entry.path, wrong, say, verdict, repair=repair)
                elif files.key is None:
                    verdict.unknown += 1
                    say(f"{name}: cannot be verified, its key is not known whole")
                else:
                    _blocks(folder, entry.path, files, say, verdict, repair=repair)
            finally:
                files.close()
            advance(entry.allocated)
    return verdict


def _unusable(
    folder: Folder,
    path: str,
    why: str,
    say: Callable[[str], None],
    verdict: Verdict,
    *,
    repair: bool,
) -> None:
    verdict.bad += 1
    if repair:
        with folder.alone():
            folder.bury(path)
        verdict.mended += 1
    say(f"{path.rpartition('/')[2]}: {why}{', removed' if repair else ''}")


def _blocks(
    folder: Folder,
    path: str,
    files: Opened,
    say: Callable[[str], None],
    verdict: Verdict,
    *,
    repair: bool,
) -> None:
    assert files.record is not None
    assert files.raw is not None
    assert files.key is not None
    assert files.volume_key is not None
    seed = seed_of(files.volume_key, files.key, files.raw)
    wrong: list[int] = []
    for first, entries in files.mapped():
        for number, entry in enumerate(entries, start=first):
            if not entry:
                continue
            verdict.blocks += 1
            length = min(BLOCK, files.record.size - number * BLOCK)
            data = os.pread(files.data, length, number * BLOCK)
            right = block_hashes(seed, number, memoryview(data)) == [entry]
            if not (right and len(data) == length) and files.entries(number, 1) == [entry]:
                wrong.append(number)
    if not wrong:
        return
    verdict.bad += len(wrong)
    if repair:
        _strike(folder, path, wrong)
        verdict.mended += len(wrong)
    shown = ", ".join(map(str, wrong[:8])) + (", ..." if len(wrong) > 8 else "")
    name = path.rpartition("/")[2]
    say(f"{name}: {len(wrong)} blocks wrong ({shown}){', struck' if repair else ''}")


def _strike(folder: Folder, path: str, blocks: Iterable[int]) -> None:
    side = os.open(path + MAP_SUFFIX, os.O_WRONLY | os.O_NOFOLLOW, dir_fd=folder.fd)
    try:
        for number in blocks:
            os.pwrite(side, bytes(ENTRY), number * ENTRY)
    finally:
        os.close(side)
