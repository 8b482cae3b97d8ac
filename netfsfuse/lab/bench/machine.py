"""The machine and the versions of the programs: figures mean nothing without them."""

from __future__ import annotations

import os
import platform
import shutil
from pathlib import Path

from netfsfuse import __version__
from netfsfuse.lab.bench.errors import BenchError
from netfsfuse.lab.bench.plan import Kind
from netfsfuse.lab.bench.process import run
from netfsfuse.lab.server.smbd import SambaError, find_program

_GIB = 1024**3


def describe_machine() -> dict[str, str]:
    """What to print beside every figure, by name. What cannot be found out is left out."""
    memory = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE") / _GIB
    found = {
        "cpu": _cpu_model(),
        "cores": str(len(os.sched_getaffinity(0))),
        "memory": f"{memory:.0f} GiB",
        "kernel": platform.release(),
        "netfsfuse": __version__,
        "python": platform.python_version(),
        "smbd": _version(_smbd(), "--version"),
        "rclone": _version("rclone", "--config=", "version"),
        "smbclient": _version("smbclient", "--version"),
        "fio": _version("fio", "--version"),
    }
    return {name: value for name, value in found.items() if value}


def missing_programs() -> dict[Kind, str]:
    """Peers that cannot be compared here, and why."""
    missing = {}
    if shutil.which("rclone") is None:
        missing[Kind.RCLONE] = "rclone is not installed"
    if shutil.which("smbclient") is None:
        missing[Kind.SMBCLIENT] = missing[Kind.SMBCLIENT_FILE] = "smbclient is not installed"
    return missing


def _cpu_model() -> str:
    for line in Path("/proc/cpuinfo").read_text().splitlines():
        name, _, value = line.partition(":")
        if name.strip() in ("model name", "Model"):
            return value.strip()
    return platform.machine()


def _smbd() -> str:
    try:
        return find_program("smbd")
    except SambaError:
        return "smbd"


def _version(program: str, *words: str) -> str:
    """The first line that the program says of itself, without its own name."""
    if shutil.which(program) is None:
        return ""
    try:
        lines = run([program, *words], check=False, seconds=10.0).output.splitlines()
    except BenchError:
        return ""
    line = lines[0].strip() if lines else ""
    return line.removeprefix("Version ").removeprefix("rclone ").removeprefix("fio-")
