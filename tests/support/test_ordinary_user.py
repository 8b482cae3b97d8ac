"""The ordinary user is one, may open /dev/fuse, reaches the interpreter, and leaves nothing."""

from __future__ import annotations

import os
import sys
from pathlib import Path

import pytest

from tests.support.leaks import MARK, marked_processes
from tests.support.ordinary_user import OrdinaryUser, closed_folder

SCRIPT = """
import os, subprocess, sys
os.close(os.open("/dev/fuse", os.O_RDWR))
assert os.getcwd() == os.environ["HOME"] == os.environ["TMPDIR"]
open("mine", "w").close()
import netfsfuse
print(os.geteuid())
if "ROOT_RUNS" in os.environ:  # only there a namespace of its own ends it
    subprocess.Popen(["sleep", "1000"], start_new_session=True).returncode = 0
sys.exit(7)
"""


@pytest.mark.mount
def test_ordinary_user_with_fuse(session_folder: Path) -> None:
    user = OrdinaryUser(session_folder / "ordinary")
    env = {"ROOT_RUNS": "1"} if os.geteuid() == 0 else {}
    for _ in range(2):  # the same user can come back
        result = user.run([sys.executable, "-c", SCRIPT], env=env)
        assert result.returncode == 7, result.stderr
        assert int(result.stdout) != 0
        assert (user.home / "mine").stat().st_uid == int(result.stdout)
    assert not [line for line in marked_processes(os.environ[MARK]) if "sleep" in line]


def test_closed_folder_is_the_outermost(session_folder: Path) -> None:
    inner = session_folder / "closed" / "open" / "closed-too"
    inner.mkdir(parents=True)
    inner.chmod(0o700)
    assert closed_folder(inner) == inner
    (session_folder / "closed").chmod(0o750)
    assert closed_folder(inner) == session_folder / "closed"
    assert closed_folder(Path("/usr/bin")) is None
