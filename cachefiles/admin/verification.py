"""Hash every stored block of a cache, and mend what can be mended: by forgetting it.

Works beside mounts. What changes between the look at the map and at the data is looked at again.
What cannot be read, or is no file of the cache's, is told like a wrong block, and the rest goes on.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from functools import partial

from cachefiles import walk
from cachefiles.admin.survey import Opened, folders, opened
from cachefiles.cache import Cache
from cachefiles.contentmap import BLOCK, ENTRY, block_hashes
from cachefiles.folder import Doomed, Folder
from cachefiles.key import MAP_SUFFIX

_KINDS = {
    stat.S_IFLNK: "a symlink",
    stat.S_IFDIR: "a folder",
    stat.S_IFIFO: "a pipe",
    stat.S_IFSOCK: "a socket",
}


@dataclass(slots=True)
class Verdict:
    """Counts: objects and blocks looked at, what was wrong, what could not be told, mended, and
    objects that are being changed, of which nothing is found."""

    objects: int = 0
    blocks: int = 0
    bad: int = 0
    unknown: int = 0
    mended: int = 0
    unfinished: int = 0


def verify(
    cache: Cache,
    chosen: Callable[[str, str], bool],
    say: Callable[[str], None],
    advance: Callable[[int], None],
    *,
    repair: bool,
) -> Verdict:
    """Verify the objects for which ``chosen(volume name, object name)``. ``say`` gets a line for
    each that is wrong, ``advance`` the bytes done, also none."""
    verdict = Verdict()
    for fd, name, key in folders(cache):
        folder = Folder(cache.filesystem, fd, cache.graveyard)
        volume = _Volume(folder, name, key, say, advance, verdict, repair)
        wanted = partial(chosen, name)
        for entry in walk.objects(cache.filesystem, fd, partial(volume.foreign, wanted)):
            if wanted(_name(entry.path)):
                volume.object(entry)
            advance(0)
    return verdict


@dataclass(frozen=True, slots=True)
class _Volume:
    """The verification of one volume."""

    folder: Folder
    name: str
    key: bytes
    say: Callable[[str], None]
    advance: Callable[[int], None]
    verdict: Verdict
    repair: bool

    def object(self, entry: walk.Entry) -> None:
        """Verify one object. What fails about it is its fault."""
        self.verdict.objects += 1
        done = 0
        try:
            if entry.size is None:
                self._unusable(entry.path, "a map without data")
                return
            files = opened(self.folder.fd, self.name, self.key, entry.path)
            try:
                done = self._files(entry.path, files)
            finally:
                files.close()
        except FileNotFoundError:  # gone meanwhile
            return
        except OSError as error:
            self.verdict.bad += 1
            self.say(f"{_name(entry.path)}: {error.strerror or error}")
        finally:
            self.advance(max(0, entry.allocated - done))

    def foreign(self, wanted: Callable[[str], bool], path: str, mode: int) -> None:
        """What has the name of an object's file and is none. Only itself is ever removed: not what
        a link points to, and nothing that lies in a folder."""
        if not wanted(_name(path).removesuffix(MAP_SUFFIX)):
            return
        self.verdict.bad += 1
        done = ""
        if self.repair:
            doomed = Doomed()
            try:
                with self.folder.alone():
                    self.folder.bury(path, doomed)
                self.verdict.mended += 1
                done = ", removed"
            except OSError as error:
                done = f", not removed: {error.strerror or error}"
            finally:
                self.folder.put_away(doomed)
        kind = _KINDS.get(stat.S_IFMT(mode), "a device")
        self.say(f"{_name(path)}: {kind} in place of a file{done}")

    def _files(self, path: str, files: Opened) -> int:
        """The bytes told to ``advance``."""
        name = _name(path)
        wrong = files.wrong(name)
        if wrong is not None:
            self._unusable(path, wrong)
        elif (
            files.is_unfinished
        ):  # its size is another by now, and its blocks are not said to be right
            self.verdict.unfinished += 1
        elif files.key is None:
            self.verdict.unknown += 1
            self.say(f"{name}: cannot be verified, its key is not known whole")
        else:
            return self._blocks(path, files)
        return 0

    def _unusable(self, path: str, why: str) -> None:
        self.verdict.bad += 1
        if self.repair:
            doomed = Doomed()
            try:
                with self.folder.alone():
                    self.folder.bury(path, doomed)
            finally:
                self.folder.put_away(doomed)
            self.verdict.mended += 1
        self.say(f"{_name(path)}: {why}{', removed' if self.repair else ''}")

    def _blocks(self, path: str, files: Opened) -> int:
        assert files.generation is not None
        assert files.key is not None
        assert files.volume_key is not None
        seed = files.generation.seed(files.volume_key, files.key)
        wrong: list[int] = []
        done = 0
        for first, entries in files.mapped():
            for number, entry in enumerate(entries, start=first):
                if not entry:
                    continue
                self.verdict.blocks += 1
                length = min(BLOCK, files.generation.record.size - number * BLOCK)
                data = _read(files.data, length, number * BLOCK)
                right = block_hashes(seed, number, memoryview(data)) == [entry]
                if not (right and len(data) == length) and files.entries(number, 1) == [entry]:
                    wrong.append(number)
                done += length
                self.advance(length)
        if wrong:
            self.verdict.bad += len(wrong)
            if self.repair:
                _strike(self.folder, path, wrong)
                self.verdict.mended += len(wrong)
            shown = ", ".join(map(str, wrong[:8])) + (", ..." if len(wrong) > 8 else "")
            self.say(
                f"{_name(path)}: {len(wrong)} blocks wrong ({shown})"
                + (", struck" if self.repair else "")
            )
        return done


def _name(path: str) -> str:
    return path.rpartition("/")[2]


def _read(fd: int, length: int, offset: int) -> bytes:
    """Nothing where the disk cannot read."""
    try:
        return os.pread(fd, length, offset)
    except OSError:
        return b""


def _strike(folder: Folder, path: str, blocks: Iterable[int]) -> None:
    side = os.open(path + MAP_SUFFIX, os.O_WRONLY | os.O_NOFOLLOW, dir_fd=folder.fd)
    try:
        for number in blocks:
            os.pwrite(side, bytes(ENTRY), number * ENTRY)
    finally:
        os.close(side)
