"""A password given as an argument vanishes from the command line that ps shows."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

from netfsfuse.cli.options import secrets_in

PROGRAM = """
import sys
from netfsfuse.cli.conceal import conceal
conceal(sys.argv[1].split())
sys.stdout.buffer.write(open("/proc/self/cmdline", "rb").read())
"""
SECRETS = "Xq7-geheim zweites"


def shown(tmp_path: Path, *words: str) -> bytes:
    program = tmp_path / "program.py"
    program.write_text(PROGRAM)
    command = [sys.executable, str(program), SECRETS, *words]
    return subprocess.run(command, capture_output=True, check=True).stdout


def test_every_occurrence_is_covered_and_nothing_else(tmp_path):
    seen = shown(tmp_path, "-o", "pass=Xq7-geheim,user=a%zweites", "pass=Xq7-geheim", "zweites")
    assert b"\0-o\0pass=**********,user=a%*******\0pass=**********\0zweites\0" in seen


def test_all_passwords_of_the_options_are_found():
    texts = ["ro,pass=one", "user=a%two,password=three=3", "user=b,fsc"]
    assert [secret for secret in secrets_in(texts) if secret] == ["one", "two", "three=3"]


def test_the_process_of_a_mount_cannot_be_dumped(tmp_path: Path) -> None:
    """It says so of itself (PR_GET_DUMPABLE, 3) in the moment in which it would mount."""
    program = """
import ctypes, sys
from netfsfuse.cli import mount
seen = []
mount.conceal = lambda secrets: seen.append(ctypes.CDLL(None).prctl(3, 0, 0, 0, 0))
try:
    mount.mount_command.main(["//h/s", sys.argv[1], "-o", "nonsense"], standalone_mode=False)
except Exception:
    pass
print(seen)
"""
    words = [sys.executable, "-c", program, str(tmp_path)]
    assert subprocess.run(words, capture_output=True, check=True).stdout == b"[0]\n"
