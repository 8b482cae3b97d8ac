"""A command in a network namespace: ``python -m netfsfuse.lab.link.namespace COMMAND ...``.

There it may make devices and routes that are unseen outside; they vanish with its last process.
Only loopback is up. Mounts, files and processes are the machine's own, so what mounts must unmount.
Needs root, unshare(1) (util-linux) and ip(8) (iproute2).
"""

from __future__ import annotations

import os
import shutil
import sys
from collections.abc import Sequence

_SCRIPT = 'ip link set lo up && exec "$@"'


def in_namespace(command: Sequence[str]) -> list[str]:
    """The command line that runs ``command`` in a network namespace of its own.

    It is the same process in the end: signals and the exit code are those of ``command``.
    """
    return ["unshare", "--net", "--", "sh", "-c", _SCRIPT, "sh", *command]


def missing() -> str | None:
    """Why this machine or user cannot do it, in a line; None where all seems to be there."""
    if os.geteuid() != 0:
        return "a network namespace needs root"
    for program, package in (("unshare", "util-linux"), ("ip", "iproute2")):
        if shutil.which(program) is None:
            return f"{program} not found: apt install {package}"
    return None


def main() -> None:
    """Replace this process by the command given."""
    words = sys.argv[1:]
    if words[:1] == ["--"]:
        del words[0]
    reason = "no command given" if not words else missing()
    if reason is not None:
        sys.exit(f"{sys.argv[0]}: {reason}")
    command = in_namespace(words)
    os.execvp(command[0], command)


if __name__ == "__main__":
    main()
