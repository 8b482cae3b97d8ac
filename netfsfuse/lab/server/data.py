"""Sample data: deterministic, quick to make, and nothing that compresses or repeats.

The same seed gives the same bytes on every machine, and each block can be made on its own, so a
test can say what any byte of a file must be without keeping a copy.
"""

from __future__ import annotations

import random
from collections.abc import Iterator
from pathlib import Path

MIB = 1024 * 1024
BLOCK = MIB
"""Bytes of one independently seeded block. 256 of them take 0.7 s with Mersenne Twister; the
operating system's generator is no faster and cannot be repeated."""

NEEDLE = "kingfisher"
"""The word that :func:`write_tree` hides in some lines, and nowhere else."""

_FILES_A_DIRECTORY = 50
_LINES_A_FILE = 40
_VOCABULARY = """
alder amber barley beacon birch bramble cedar chalk clover copper dapple ember estuary fallow
feather fern flint furrow gable garnet granite harbour hazel heather hollow indigo juniper
kestrel lantern lichen linden marble meadow mellow nettle oak orchard otter pebble plover
quarry quartz raven ripple rowan saffron sedge slate sorrel tallow thicket thistle timber
umber velvet violet walnut wander willow yarrow
"""
_WORDS = _VOCABULARY.split()


def block(seed: str, index: int) -> bytes:
    """Block ``index`` (1 MiB) of the file that ``seed`` names."""
    return random.Random(f"{seed}/{index}").randbytes(BLOCK)


def blocks(seed: str, size: int) -> Iterator[bytes]:
    """The file's ``size`` bytes, in pieces of at most one block."""
    for start in range(0, size, BLOCK):
        yield block(seed, start // BLOCK)[: size - start]


def write_file(path: Path, size: int, seed: str = "netfsfuse") -> None:
    """Write ``size`` non-compressible bytes to ``path``."""
    with path.open("wb", buffering=0) as out:
        for piece in blocks(seed, size):
            out.write(piece)


def write_tree(root: Path, files: int, seed: str = "netfsfuse") -> int:
    """Write ``files`` small text files (about 3 KiB) below ``root``, 50 to a directory.

    Returns in how many lines :data:`NEEDLE` stands.
    """
    rng = random.Random(f"{seed}/tree")
    hits = 0
    for number in range(files):
        directory = root / f"part-{number // _FILES_A_DIRECTORY:03}"
        if number % _FILES_A_DIRECTORY == 0:
            directory.mkdir(parents=True)
        lines = [" ".join(rng.choices(_WORDS, k=11)) for _ in range(_LINES_A_FILE)]
        if rng.random() < 0.25:
            lines[rng.randrange(_LINES_A_FILE)] += f" {NEEDLE}"
            hits += 1
        (directory / f"note-{number:05}.txt").write_text("\n".join(lines) + "\n")
    return hits


def write_even_tree(root: Path, directories: int, files: int) -> None:
    """``files`` of 4 KiB, each of its own bytes, in each of ``directories`` below ``root``."""
    for directory in range(directories):
        folder = root / f"d{directory:03}"
        folder.mkdir(parents=True)
        for number in range(files):
            line = f"directory {directory} file {number} ".encode()
            (folder / f"f{number:03}").write_bytes((line * (4096 // len(line) + 1))[:4096])
