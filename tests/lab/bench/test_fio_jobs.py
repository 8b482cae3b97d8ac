"""The job files for use by hand: fio understands them, and verify sees a wrong byte."""

from __future__ import annotations

import subprocess
from importlib.resources import files
from pathlib import Path

import pytest

JOBS = sorted(Path(str(files("netfsfuse"))).glob("lab/bench/fio/*.fio"))
pytestmark = pytest.mark.samba  # where fio is installed


def fio(job: Path, folder: Path, *words: str) -> subprocess.CompletedProcess[str]:
    """Run a job by hand, as its head says, on files of a 64th of the size."""
    small = folder.parent / job.name
    text = job.read_text().replace("size=1g", "size=16m").replace("size=128m", "size=2m")
    small.write_text(text.replace("runtime=10", "runtime=1"))
    return subprocess.run(
        ["fio", *words, f"--directory={folder}", str(small)],
        cwd=folder.parent,
        capture_output=True,
        text=True,
        check=False,
    )


def job(name: str) -> Path:
    return next(path for path in JOBS if path.stem == name)


@pytest.fixture
def laid_out(tmp_path: Path, session_folder: Path) -> Path:
    folder = session_folder / f"fio-{tmp_path.name}" / "share"  # /tmp may not take O_DIRECT
    folder.mkdir(parents=True)
    done = fio(job("lay-out"), folder)
    assert done.returncode == 0, done.stdout + done.stderr
    return folder


def test_all_jobs_read_what_was_laid_out(laid_out: Path) -> None:
    before = {path.name: path.stat().st_mtime_ns for path in laid_out.iterdir()}
    assert len(before) == 9
    readers = [path for path in JOBS if path.stem != "lay-out"]
    assert len(readers) == 5
    for path in readers:
        done = fio(path, laid_out, "--readonly")
        assert done.returncode == 0, done.stdout + done.stderr
        assert "err= 0" in done.stdout
        assert f"--directory=MOUNTPOINT {path.name}" in path.read_text()
    assert {path.name: path.stat().st_mtime_ns for path in laid_out.iterdir()} == before


def test_verify_sees_a_wrong_byte(laid_out: Path) -> None:
    with (laid_out / "fio-big").open("r+b") as file:
        file.seek(5_000_000)
        byte = file.read(1)
        file.seek(-1, 1)
        file.write(bytes([byte[0] ^ 1]))
    done = fio(job("verify"), laid_out, "--readonly")
    assert done.returncode != 0
    assert "crc32c" in done.stderr + done.stdout
