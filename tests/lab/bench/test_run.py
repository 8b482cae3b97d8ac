"""The real bench, on a real server: end to end, and interrupted."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from netfsfuse.lab.bench.errors import BenchError
from netfsfuse.lab.bench.request import Request
from netfsfuse.lab.bench.run import run_bench
from netfsfuse.lab.bench.serving import ServedFile
from netfsfuse.lab.bench.work import reading
from netfsfuse.lab.bench.work.base import Bench, compare
from netfsfuse.lab.server import data
from netfsfuse.lab.server.samba import PrivateSamba
from netfsfuse.mountinfo import read_mounts
from tests.support.leaks import MARK, marked_processes
from tests.support.mounted import COMMAND, SOURCE_TREE


@pytest.fixture
def scratch(session_folder: Path) -> Iterator[Path]:
    """Where the bench puts its things; must be empty when it has ended."""
    folder = session_folder / f"bench-{os.urandom(4).hex()}"
    folder.mkdir()
    folder.chmod(0o711)
    yield folder
    left = list(folder.iterdir())
    shutil.rmtree(folder)
    assert not left


def start(scratch: Path, *words: str, **environment: str) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [*COMMAND, "bench", "--quick", *words],
        env={**os.environ, "PYTHONPATH": SOURCE_TREE, "TMPDIR": str(scratch), **environment},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        process_group=0,
    )


def mounts_in(folder: Path) -> list[str]:
    """All mounts below it, rclone's too."""
    return [m.path for m in read_mounts() if Path(m.path).is_relative_to(folder)]


@pytest.mark.mount
def test_a_cold_row_end_to_end(scratch: Path, tmp_path: Path) -> None:
    result, plot = tmp_path / "result.json", tmp_path / "plot.svg"
    words = ["--row", "cold", "--row", "warm", "--size", "8M", "--rounds", "1"]
    bench = start(scratch, *words, "--json", str(result), "--plot", str(plot))
    out, _ = bench.communicate()
    assert bench.returncode == 0, out
    assert "Measured" in out
    whole = json.loads(result.read_text())
    assert whole["complete"] is True
    cold, far, warm = whole["cells"]
    assert (cold["row"], far["round_trip"], warm["row"]) == ("cold", 0.05, "warm")
    assert far["added"] >= 0.05
    for cell in (cold, far):
        (first,) = column_of(cell, "ours")["runs"]
        assert first["bytes"] == 8 * data.MIB
        assert first["server_bytes"] >= 8 * data.MIB
        assert first["figures"]["stored_share"] == 1.0
        assert first["figures"]["again_server_share"] == 0.0
        assert first["peak_rss"] > 10 * data.MIB
        assert first["client_cpu"] is not None
        assert first["in_flight_peak"] >= 1
    assert far["columns"][0]["runs"][0]["seconds"] > 0.05
    assert column_of(warm, "ours")["runs"][0]["figures"]["from_server_share"] == 0.0
    assert column_of(warm, "dd of the backing file")["runs"][0]["bytes"] >= 8 * data.MIB
    assert plot.read_text().startswith("<svg")
    assert not mounts_in(scratch)


def column_of(cell: dict, name: str) -> dict:
    return next(column for column in cell["columns"] if column["name"] == name)


@pytest.mark.mount
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_interrupted_it_shows_what_it_has_and_leaves_nothing(
    scratch: Path, tmp_path: Path, number: signal.Signals
) -> None:
    """The signal goes to the whole process group, as Ctrl-C in a terminal does."""
    result = tmp_path / "result.json"
    words = ["--row", "cold", "--size", "8M", "--json", str(result)]
    with start(scratch, *words) as bench:
        assert bench.stdout is not None
        for line in bench.stdout:
            if line.strip().startswith("cold, 0 ms"):
                break
        os.killpg(bench.pid, number)
        rest = bench.stdout.read()
    assert bench.returncode == 128 + number, rest
    assert "Measured" in rest
    whole = json.loads(result.read_text())
    assert whole["complete"] is False
    assert whole["cells"][0]["columns"][0]["runs"]
    assert not mounts_in(scratch)
    assert not [line for line in marked_processes(os.environ[MARK]) if str(scratch) in line]


@pytest.mark.samba
@pytest.mark.mount
def test_a_given_share_is_read_and_not_written(
    scratch: Path, samba: PrivateSamba, tmp_path: Path
) -> None:
    folder = samba.path / f"bench-{os.urandom(4).hex()}"
    folder.mkdir()
    data.write_file(folder / "big.bin", 4 * data.MIB)
    before = sorted(path.stat().st_mtime_ns for path in [folder, folder / "big.bin"])
    result = tmp_path / "result.json"
    words = ["--row", "cold-nofsc", "--row", "encrypted", "--json", str(result)]
    words += [f"{samba.url}/{folder.name}/big.bin", "-o", f"user={samba.username}"]
    bench = start(scratch, *words, PASSWD=samba.password)
    out, _ = bench.communicate()
    assert bench.returncode == 0, out
    assert samba.password not in out
    cells = json.loads(result.read_text())["cells"]
    assert cells[0]["columns"][0]["runs"][0]["bytes"] == 4 * data.MIB
    assert "private server" in cells[-1]["columns"][0]["not_run"]
    assert sorted(path.stat().st_mtime_ns for path in [folder, folder / "big.bin"]) == before
    assert [path.name for path in folder.iterdir()] == ["big.bin"]


@pytest.mark.mount
def test_wrong_bytes_are_a_failure(
    scratch: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """A mount that delivers another file's bytes is no contender."""
    monkeypatch.setenv("PYTHONPATH", SOURCE_TREE)

    def compare_with_another(bench: Bench, seen: Path, file: ServedFile) -> None:
        other = scratch / "other"
        data.write_file(other, file.size, "other")
        try:
            compare(bench, seen, replace(file, copy=other))
        finally:
            other.unlink()

    monkeypatch.setattr(reading, "compare", compare_with_another)
    request = Request(rows=("cold-nofsc",), size=4 * data.MIB, quick=True, directory=scratch)
    assert run_bench(request) == 1
    assert "differ" in capsys.readouterr().out


@pytest.mark.machine
def test_what_it_needs_is_told_before_it_begins(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(FileNotFoundError):
        run_bench(Request(json=tmp_path / "no" / "result.json"))
    with pytest.raises(BenchError, match="see --directory"):
        run_bench(Request(directory=tmp_path / "no"))
    monkeypatch.setattr(shutil, "which", lambda name, **_: None if name == "cmp" else f"/{name}")
    with pytest.raises(BenchError, match="cmp not found"):
        run_bench(Request(directory=tmp_path))
