"""What a written file, and an unpacked tree, must be before a run counts."""

from __future__ import annotations

from pathlib import Path

import pytest

from netfsfuse.lab.bench.contenders.smbclient import Smbclient
from netfsfuse.lab.bench.errors import BenchError, NotHere
from netfsfuse.lab.bench.serving import GivenServing, ServedFile
from netfsfuse.lab.bench.target import Target
from netfsfuse.lab.bench.work import writing
from netfsfuse.lab.bench.work.unpacking import Unpacking


class Served:
    """A serving that keeps all in a folder."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def place(self, name: str) -> Path:
        return self.folder / name


def test_a_wrong_byte_is_a_failure(tmp_path: Path) -> None:
    source, place = tmp_path / "source", tmp_path / "place"
    source.write_bytes(b"as it was")
    place.write_bytes(b"as it is!")
    file = ServedFile("source", 9, 9, source, source)
    with pytest.raises(BenchError, match="cmp"):
        writing.compare_written(file, place)
    place.write_bytes(b"as it was")
    writing.compare_written(file, place)
    assert not place.exists()


def test_what_never_arrives_is_a_failure(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(writing, "_LONGEST_WAIT", 0.05)
    assert not writing.has_size(tmp_path / "absent", 0)
    (tmp_path / "short").write_bytes(b"123")
    with pytest.raises(BenchError, match="has not got all"):
        writing.wait_for(lambda: writing.has_size(tmp_path / "short", 4))
    assert writing.wait_for(lambda: writing.has_size(tmp_path / "short", 3)) > 0


def test_an_unpacked_tree_is_whole_when_each_file_is(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(writing, "_LONGEST_WAIT", 0.05)
    unpacking = Unpacking(Served(tmp_path), tmp_path, 3)  # type: ignore[arg-type]
    unpacking.make_room()
    with pytest.raises(BenchError):
        unpacking.wait()
    (unpacking.place / "d000").mkdir()
    for number in range(3):
        with pytest.raises(BenchError):
            unpacking.wait()
        (unpacking.place / "d000" / f"f{number:03}").write_bytes(b"x" * 4096)
    unpacking.wait()
    with pytest.raises(BenchError, match="diff"):
        unpacking.compare()
    unpacking.remove()
    assert not unpacking.place.exists()


def test_a_given_share_is_not_written() -> None:
    serving = GivenServing(Target("host", 445, "share"), "file", 10, None)
    with pytest.raises(NotHere, match="writes"):
        serving.place("written")


def test_smbclient_is_given_names_it_can_read(tmp_path: Path) -> None:
    client = Smbclient(Target("host", 445, "share"), tmp_path)
    assert client.put(tmp_path / "a b", "d/f")[-1] == f'put "{tmp_path}/a b" "d\\f"'
    assert client.unpack(Path("/a.tar"), "d")[-4:] == ["--directory", "d", "-Tx", "/a.tar"]
    with pytest.raises(BenchError, match="quote"):
        client.put(tmp_path / 'a"b', "f")
