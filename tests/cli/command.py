"""Running the real command in a process of its own, with a stand-in for the mount."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

SECRET = "Xq7-geheim"
STANDIN = Path(__file__).parent / "standin"
ROOT = Path(__file__).resolve().parents[2]


@dataclass
class Command:
    """``python -m netfsfuse`` with an environment of the test's own."""

    folder: Path
    environ: dict[str, str] = field(default_factory=dict)

    def environment(self, behaviour: str, extra: Mapping[str, str]) -> dict[str, str]:
        kept = {name: value for name, value in os.environ.items() if "PASSWD" not in name}
        return {
            **kept,
            "PYTHONPATH": f"{STANDIN}:{ROOT}",
            "XDG_STATE_HOME": str(self.folder / "state"),
            "USER": "tester",
            "NETFSFUSE_STANDIN": behaviour,
            "NETFSFUSE_STANDIN_RECORD": str(self.folder / "record"),
            **self.environ,
            **extra,
        }

    def start(self, *words: str, behaviour: str = "brief", **extra: str) -> subprocess.Popen[str]:
        return subprocess.Popen(
            [sys.executable, "-m", "netfsfuse", *words],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            cwd=self.folder,
            env=self.environment(behaviour, extra),
        )

    def run(
        self, *words: str, behaviour: str = "brief", **extra: str
    ) -> subprocess.CompletedProcess[str]:
        with self.start(*words, behaviour=behaviour, **extra) as process:
            try:
                out, err = process.communicate(timeout=60)
            except BaseException:
                process.kill()
                raise
        return subprocess.CompletedProcess(words, process.returncode, out, err)


def line_of(result: subprocess.CompletedProcess[str]) -> str:
    """The one line of an error."""
    assert result.stdout == ""
    assert result.stderr.startswith("netfsfuse: ")
    assert result.stderr.endswith("\n")
    assert result.stderr.count("\n") == 1, result.stderr
    return result.stderr.removeprefix("netfsfuse: ").rstrip("\n")
