"""Shell scripts in mount and process namespaces of their own.

There a test may cover folders of the machine (/dev, /etc/fstab, /usr/local/sbin), mount a full or
read-only disk, and mount shares: with the script everything is gone, processes included. An
ordinary user gets the same by a user namespace in which he is root.
"""

from __future__ import annotations

import os
import shlex
import subprocess
import sys
from pathlib import Path

from tests.support.mounted import COMMAND, SOURCE_TREE

NETFSFUSE = shlex.join(COMMAND)


def run_in_namespace(
    folder: Path, script: str, *, env: dict[str, str] | None = None, timeout: float = 60.0
) -> subprocess.CompletedProcess[str]:
    """Run ``script`` (sh, ends at the first failing command) in ``folder``.

    ``$netfsfuse`` is the command; ``env`` is added to the environment.
    """
    words = ["unshare", "--mount", "--pid", "--fork", "--kill-child", "--mount-proc"]
    if os.geteuid() != 0:
        words += ["--user", "--map-root-user"]
    with (folder / "out").open("w+") as out, (folder / "err").open("w+") as err:
        code = subprocess.run(
            [*words, "sh", "-euc", script],
            stdin=subprocess.DEVNULL,
            stdout=out,
            stderr=err,
            cwd=folder,
            env={
                **os.environ,
                "PYTHONPATH": SOURCE_TREE,
                "netfsfuse": NETFSFUSE,
                "XDG_STATE_HOME": str(folder / "state"),
                **(env or {}),
            },
            timeout=timeout,
            check=False,
        ).returncode
        out.seek(0)
        err.seek(0)
        return subprocess.CompletedProcess(script, code, out.read(), err.read())


def bare_dev(*devices: str) -> str:
    """Shell commands that leave nothing in /dev but ``devices``."""
    names = " ".join(shlex.quote(name) for name in devices)
    return f"""
        mkdir dev
        mount -t tmpfs tmpfs dev
        for name in {names}; do
            touch "dev/$name"
            mount --bind "/dev/$name" "dev/$name"
        done
        mount --rbind dev /dev
    """


def command_link() -> str:
    """Shell commands that make ``netfsfuse`` a word in the PATH that mount(8) gives helpers.

    They cover /usr/local/sbin, so that nothing is left there.
    """
    environment = f"PYTHONPATH={shlex.quote(SOURCE_TREE)}"
    runner = f'#!/bin/sh\\n{environment} exec {shlex.quote(sys.executable)} -m netfsfuse "$@"\\n'
    return f"""
        mount -t tmpfs tmpfs /usr/local/sbin
        printf '{runner}' > /usr/local/sbin/netfsfuse
        chmod 755 /usr/local/sbin/netfsfuse
    """
