"""Sample data: repeatable, incompressible, and with the promised needles in it."""

from __future__ import annotations

import zlib
from pathlib import Path

from netfsfuse.lab.server import data


def test_same_seed_same_bytes_and_other_seed_other_bytes() -> None:
    assert data.block("a", 3) == data.block("a", 3)
    assert len({data.block("a", 3), data.block("a", 4), data.block("b", 3)}) == 3


def test_file_has_its_size_and_is_made_of_its_blocks(tmp_path: Path) -> None:
    size = 2 * data.BLOCK + 12345
    data.write_file(tmp_path / "f", size, "seed")
    content = (tmp_path / "f").read_bytes()
    assert len(content) == size
    assert content[data.BLOCK : 2 * data.BLOCK] == data.block("seed", 1)
    assert content[2 * data.BLOCK :] == data.block("seed", 2)[:12345]


def test_empty_file(tmp_path: Path) -> None:
    data.write_file(tmp_path / "f", 0)
    assert (tmp_path / "f").read_bytes() == b""


def test_does_not_compress() -> None:
    assert len(zlib.compress(data.block("a", 0))) > data.BLOCK


def test_tree_has_its_files_and_the_needles_it_reports(tmp_path: Path) -> None:
    needles = data.write_tree(tmp_path / "tree", 120)
    files = sorted((tmp_path / "tree").rglob("*.txt"))
    assert len(files) == 120
    assert len(list((tmp_path / "tree").iterdir())) == 3
    lines = [line for file in files for line in file.read_text().splitlines()]
    assert sum(data.NEEDLE in line for line in lines) == needles > 0
