"""fio checks every block of a file that it laid out itself, by the checksum inside the block.

fio writes the file on the server's own disk and verifies it through the mount: in order and at
random, buffered and direct, with several readers at once, cold and from the cache.
"""

from __future__ import annotations

import subprocess
import tempfile
from pathlib import Path

import pytest

from netfsfuse.lab.server.samba import PrivateSamba
from tests.support.mounted import Mounted

SIZE = "48m"
BLOCK = "16k"


def fio(file: Path, *options: str) -> str:
    """Run one fio job on ``file``; what it said. Fails on any error."""
    words = ["fio", "--name=torture", f"--filename={file}", f"--size={SIZE}", f"--bs={BLOCK}"]
    words += ["--verify=crc32c", "--verify_fatal=1", "--ioengine=psync", *options]
    # In a folder of its own: fio leaves the state of its verification behind.
    with tempfile.TemporaryDirectory() as scratch:
        done = subprocess.run(
            words, cwd=scratch, capture_output=True, text=True, check=False, timeout=60
        )
    assert done.returncode == 0, done.stdout + done.stderr
    assert "verify" not in done.stderr, done.stderr
    return done.stdout


@pytest.fixture
def laid_out(samba: PrivateSamba) -> Path:
    """A file whose blocks carry their checksums, on the server's disk."""
    file = Path(tempfile.mkdtemp(dir=samba.path)) / "file"
    fio(file, "--rw=write", "--do_verify=0")
    return file


@pytest.mark.parametrize("direct", ["0", "1"])
@pytest.mark.parametrize("rw", ["read", "randread"])
def test_fio_verifies(samba: PrivateSamba, laid_out: Path, mount, rw: str, direct) -> None:
    """No block is wrong, cold or from the cache, with one reader or with four."""
    mounted: Mounted = mount(samba)
    here = mounted.path / laid_out.relative_to(samba.path)
    for jobs in ("4", "1"):
        said = fio(here, f"--rw={rw}", "--readonly", f"--direct={direct}", f"--numjobs={jobs}")
        assert "err= 0" in said
        mounted.remount()


def test_fio_sees_a_wrong_byte(samba: PrivateSamba, laid_out: Path, mount) -> None:
    """The test above can fail: one changed byte on the server is found through the mount."""
    with laid_out.open("r+b") as file:
        file.seek(20 * 1024 * 1024 + 5000)
        byte = file.read(1)
        file.seek(-1, 1)
        file.write(bytes([byte[0] ^ 1]))
    mounted: Mounted = mount(samba)
    with pytest.raises(AssertionError, match="crc32c"):
        fio(mounted.path / laid_out.relative_to(samba.path), "--rw=read", "--readonly")
