"""``kill -9`` in the middle of writes: no wrong byte, and nearly everything is still there."""

from __future__ import annotations

import os
import random
import subprocess
import sys

import pytest

from cachefiles import BLOCK, Cache

FILES = 8
BLOCKS = 40
SIZE = (BLOCKS - 1) * BLOCK + 777
WRITER = """
import itertools, pathlib, sys
from cachefiles import Cache
from tests.cachefiles.test_kill import BLOCK, FILES, SIZE, content

volume = Cache.bind(pathlib.Path(sys.argv[1])).volume(b"v")
first = int(sys.argv[2])
for generation in itertools.count(first):
    for number in range(FILES):
        data = memoryview(content(number, generation))
        file, _ = volume.open(b"%d" % number, SIZE, b"%d" % generation)
        for start in range(0, SIZE, 4 * BLOCK):
            assert file.write(start, data[start : start + 4 * BLOCK])
            print(generation, number, start, flush=True)
        file.close()
"""


def content(number: int, generation: int) -> bytes:
    return random.Random(number * 1_000_003 + generation).randbytes(SIZE)


def kill_in_the_middle(cachedir, first, lines):
    """The last line that the writer said before it was killed: what it certainly wrote."""
    with subprocess.Popen(
        [sys.executable, "-c", WRITER, os.fspath(cachedir), str(first)],
        stdout=subprocess.PIPE,
        text=True,
    ) as writer:
        for _ in range(lines):
            said = writer.stdout.readline()
        writer.kill()
        rest = writer.stdout.read().splitlines()
    whole = [line for line in [said, *rest] if len(line.split()) == 3]
    return [int(word) for word in whole[-1].split()]


@pytest.mark.parametrize("round_", range(3))
def test_kill(cachedir, round_):
    chance = random.Random(round_)
    first = 0
    for _ in range(3):
        generation, number, start = kill_in_the_middle(cachedir, first, chance.randint(1, 150))
        cache = Cache.bind(cachedir)
        volume = cache.volume(b"v")
        for each in range(FILES):
            reached = generation if each <= number else generation - 1
            if reached < first:
                continue
            for under in {reached + 1, reached} if each == number + 1 else {reached}:
                file, _ = volume.open(b"%d" % each, SIZE, b"%d" % under, lambda known: True)
                stored = int(file.record.coherency)
                assert stored in (reached, reached + 1)
                check(file, content(each, stored), start if each == number else None, stored)
                file.close()
        cache.close()
        first = generation + 1


def check(file, expected, written_to, stored):
    for at in range(0, SIZE, BLOCK):
        want = memoryview(expected)[at : at + BLOCK]
        target = memoryview(bytearray(len(want)))
        if file.read(at, target):
            assert target == want
        else:
            assert written_to is None or at > written_to
