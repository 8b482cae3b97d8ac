"""What /proc says about mounts and daemons."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

from netfsfuse.lab import mounts


def test_finds_daemons_by_their_words(tmp_path: Path) -> None:
    sleeper = [sys.executable, "-c", "print(flush=True); input()", "netfsfuse"]
    cases = {
        "daemon": [*sleeper, "//h/s", str(tmp_path)],
        "elsewhere": [*sleeper, "//h/s", str(tmp_path / "other")],
    }
    running = {
        name: subprocess.Popen(words, stdin=subprocess.PIPE, stdout=subprocess.PIPE)
        for name, words in cases.items()
    }
    try:
        for process in running.values():  # exec(2) shows no words for a moment, on a busy machine
            assert process.stdout is not None
            process.stdout.readline()
        assert mounts.daemons(tmp_path) == [running["daemon"].pid]
        mounts.remove(tmp_path)
        assert running["daemon"].wait() < 0
        assert running["elsewhere"].poll() is None
    finally:
        for process in running.values():
            process.kill()
            process.communicate()


def test_no_mount_is_nothing_to_wait_for(tmp_path: Path) -> None:
    assert not mounts.is_mounted(tmp_path)
    assert mounts.wait_gone(tmp_path, 0.0)
    mounts.detach(tmp_path)
