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
