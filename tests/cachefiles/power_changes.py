"""Files of a server that change, and a cache that is told of each change, until the power is cut.

One process does that on a disk until it is killed, and writes down what the server has under each
record that it gives, before the cache hears of it; another one compares afterwards.
"""

from __future__ import annotations

import json
import os
import random
from dataclasses import dataclass, field
from pathlib import Path

from cachefiles import BLOCK, Cache, ChangingObject, Volume
from cachefiles.generation import HEADER_XATTR, decode
from cachefiles.key import file_name, object_path

VOLUME = b"//server/share"
KEYS = (b"a", b"b", b"c")
BLOCKS = 12
_NOISE = random.Random(0).randbytes(BLOCK + 65536)


def piece(number: int, length: int = BLOCK) -> memoryview:
    """The bytes of a block that was written ``number``-th."""
    start = number * 4099 % 65536
    return memoryview(_NOISE)[start : start + length]


@dataclass
class ServedFile:
    """``blocks``: by which write each got its bytes."""

    size: int = 0
    blocks: list[int] = field(default_factory=list)
    record: bytes = b"new"

    def block(self, index: int) -> memoryview:
        """What it holds."""
        return piece(self.blocks[index], min(BLOCK, self.size - index * BLOCK))


class PowerChanges:
    """``history``: (key, record) -> size and blocks of the file that the server described so.
    ``written``: the size of what was written down."""

    def __init__(self) -> None:
        self.files = {key: ServedFile() for key in KEYS}
        self.history: dict[tuple[bytes, bytes], tuple[int, tuple[int, ...]]] = {}
        self._log = os.memfd_create("history")
        self._read = 0
        self._writes = 0
        self._records = 0
        for key in KEYS:
            self._describe(key)

    def close(self) -> None:
        """Forget what was written down."""
        os.close(self._log)

    @property
    def written(self) -> int:
        """Bytes, by all processes."""
        return os.fstat(self._log).st_size

    def run(self, seed: int, folder: Path) -> None:
        """Until the process is killed, with a cache in ``folder``."""
        chance = random.Random(seed)
        volume = Cache.bind(folder).volume(VOLUME)
        while True:
            self._step(chance, volume)

    def take(self) -> int:
        """Know what another process has written down since; the number of records. What it has not
        described the server has not got."""
        raw = os.pread(self._log, self.written - self._read, self._read)
        self._read += len(raw)
        for line in raw.splitlines():
            key, number, size, blocks, self._writes = json.loads(line)
            self._records = number
            self.files[key.encode()] = ServedFile(size, blocks, b"r%d" % number)
            self.history[key.encode(), b"r%d" % number] = (size, tuple(blocks))
        return raw.count(b"\n")

    def _step(self, chance: random.Random, volume: Volume) -> None:
        key, to = chance.choice(KEYS), chance.choice(KEYS)
        way = chance.choice(("change", "change", "change", "fill", "rename", "times", "sync"))
        if way == "sync":
            volume.sync()
        elif way == "fill":
            self._fill(chance, volume, key)
        elif way == "change":
            self._change(chance, volume, key)
        else:
            self._restamp(volume, key, to if way == "rename" else key)

    def _describe(self, key: bytes) -> bytes:
        self._records += 1
        file = self.files[key]
        file.record = b"r%d" % self._records
        known = (key.decode(), self._records, file.size, file.blocks, self._writes)
        os.write(self._log, json.dumps(known).encode() + b"\n")
        return file.record

    def _fill(self, chance: random.Random, volume: Volume, key: bytes) -> None:
        """A reader stores what it has read."""
        file = self.files[key]
        stored = [each for each in range(len(file.blocks)) if chance.random() < 0.7]
        opened, _ = volume.open(key, file.size, file.record)
        for each in stored:
            opened.write(each * BLOCK, file.block(each))
        opened.close()

    def _change(self, chance: random.Random, volume: Volume, key: bytes) -> None:
        """A writer, which overwrites, cuts and extends, and at last is told the record; or not."""
        file, keep = self.files[key], chance.random() < 0.9
        changing = volume.begin_changes(key, file.size, file.record, keep=keep)
        for _ in range(chance.randrange(1, 9)):
            if chance.random() < 0.3:  # as it is done each second, whatever is under way
                volume.sync()
            elif not file.size or chance.random() < 0.4:
                self._resize(chance, changing, file)
            elif file.blocks:
                self._overwrite(chance, changing, file)
        told = chance.random() < 0.9
        record = self._describe(key)
        if told:
            changing.finish(key, record)
        changing.close()

    def _resize(self, chance: random.Random, changing: ChangingObject, file: ServedFile) -> None:
        size = max(0, chance.randrange(BLOCKS + 1) * BLOCK - chance.choice((0, 0, 1, 5000)))
        count = -(-size // BLOCK)
        changing.resize(size)
        before, file.size = file.size, size
        if size > before and before % BLOCK:  # what ended there goes on
            file.blocks.pop()
        del file.blocks[count:]
        while len(file.blocks) < count:
            self._writes += 1
            file.blocks.append(self._writes)
            if chance.random() < 0.8:
                changing.write((len(file.blocks) - 1) * BLOCK, file.block(len(file.blocks) - 1))

    def _overwrite(self, chance: random.Random, changing: ChangingObject, file: ServedFile) -> None:
        first = chance.randrange(len(file.blocks))
        end = min(len(file.blocks), first + chance.randrange(1, 4))
        discarded, stored = chance.choice(((True, True), (True, False), (False, True)))
        if discarded:
            changing.discard(first * BLOCK, end * BLOCK)
        for each in range(first, end):
            self._writes += 1
            file.blocks[each] = self._writes
            if stored:
                changing.write(each * BLOCK, file.block(each))

    def _restamp(self, volume: Volume, key: bytes, to: bytes) -> None:
        """Its times are set, or it is renamed over ``to``, which leaves an empty file behind."""
        file = self.files[key]
        known = file.record
        if to != key:
            self.files[to], self.files[key] = file, ServedFile()
            self._describe(key)
        record = self._describe(to)
        matches = known.__eq__
        volume.restamp(key, file.size, matches, to_key=to, to_coherency=record)

    def check(self, folder: Path) -> int:
        """Whatever the cache in ``folder`` has under a record is what the server had then. Returns
        how many blocks it has. Raises AssertionError."""
        found = 0
        cache = Cache.bind(folder)
        try:
            volume = cache.volume(VOLUME)
            for key in KEYS:
                found += self._check(volume, folder / "volumes" / file_name(VOLUME), key)
        finally:
            cache.close()
        return found

    def _check(self, volume: Volume, folder: Path, key: bytes) -> int:
        try:
            known = decode(os.getxattr(folder / object_path(key), HEADER_XATTR))
        except OSError:
            return 0
        if known is None:
            return 0
        record = known.record
        opened, _ = volume.open(key, record.size, record.coherency)
        found = 0
        try:
            for each in range(-(-record.size // BLOCK)):
                target = memoryview(bytearray(min(BLOCK, record.size - each * BLOCK)))
                if opened.read(each * BLOCK, target):
                    assert not known.unfinished, "what is unfinished is never found"
                    size, blocks = self.history[key, record.coherency]
                    assert size == record.size
                    assert target == piece(blocks[each], len(target)), (key, record, each)
                    found += 1
        finally:
            opened.close()
        return found
