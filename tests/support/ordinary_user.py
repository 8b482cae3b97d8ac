"""Running a command as an ordinary user who may open /dev/fuse.

Root runs the tests on many build machines, and /dev/fuse is 0600 there. So root makes a private
mount namespace (and a process namespace: when the command ends, all that it started is killed, and
no mount outlives it) in which

- /dev/fuse is a node of mode 0666, as udev makes it on a desktop,
- the interpreter, its environment and this tree can be reached: where one lives below a folder
  closed to others (a pyenv in /root, a clone in what ``mktemp -d`` made), that folder is covered by
  an open tmpfs with only these bound into it,

and there becomes ``nobody``, who exists everywhere, with a home and scratch folder of his own. An
ordinary user who runs the tests is one already: the command then runs as it is.
"""

from __future__ import annotations

import os
import pwd
import shlex
import stat
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

USER = "nobody"
TREE = Path(__file__).resolve().parents[2]


class OrdinaryUser:
    """An ordinary user whose home and scratch folder is ``home``, made here, the caller removes it.

    ``home`` must be reachable by others (no 0700 folder above it).
    """

    def __init__(self, home: Path) -> None:
        self.home = home
        home.mkdir(mode=0o755)
        self.name = USER if os.geteuid() == 0 else pwd.getpwuid(os.geteuid()).pw_name
        if os.geteuid() == 0:
            account = pwd.getpwnam(USER)
            os.chown(home, account.pw_uid, account.pw_gid)

    def run(
        self, argv: Sequence[str], *, timeout: float = 100.0, env: dict[str, str] | None = None
    ) -> subprocess.CompletedProcess[str]:
        """Run to the end, whatever the exit status; the working directory is the home."""
        words = list(argv)
        environment = {
            **os.environ,
            "HOME": str(self.home),
            "TMPDIR": str(self.home),
            "USER": self.name,
            "LOGNAME": self.name,
            "PYTHONPATH": str(TREE),
            "XDG_CACHE_HOME": str(self.home / ".cache"),
            "XDG_RUNTIME_DIR": str(self.home),
            **(env or {}),
        }
        if os.geteuid() == 0:
            script = "\n".join([*_namespace_script(self.home), _as_user(words)])
            words = ["unshare", "--mount", "--pid", "--fork", "--kill-child", "--mount-proc"]
            words += ["sh", "-euc", script]
        return subprocess.run(
            words,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            cwd=self.home,
            env=environment,
            timeout=timeout,
            check=False,
        )


def _namespace_script(home: Path) -> list[str]:
    """Shell commands that root runs first in the new namespace."""
    stage = shlex.quote(str(home / ".stage"))
    lines = [
        f"mkdir -p {stage}",
        f"mount -t tmpfs -o mode=0755,dev tmpfs {stage}",
        f"mknod -m 0666 {stage}/fuse c 10 229",
        f"mount --bind {stage}/fuse /dev/fuse",
    ]
    places = {Path(place).resolve() for place in (sys.base_prefix, sys.prefix, TREE)}
    hidden = {place: closed for place in sorted(places) if (closed := closed_folder(place))}
    kept = {place: shlex.quote(f"{home}/.stage/{number}") for number, place in enumerate(hidden)}
    for place in hidden:
        lines += [f"mkdir {kept[place]}", f"mount --rbind {shlex.quote(str(place))} {kept[place]}"]
    for cover in sorted(set(hidden.values())):
        lines.append(f"mount -t tmpfs -o mode=0755 tmpfs {shlex.quote(str(cover))}")
    for place in hidden:  # an environment in the tree is bound twice, which does no harm
        inner = shlex.quote(str(place))
        lines += [f"mkdir -p {inner}", f"mount --bind {kept[place]} {inner}"]
    return lines


def _as_user(argv: Sequence[str]) -> str:
    """The command line that gives up root for good; the shell stays as init and reaps orphans."""
    words = ["setpriv", f"--reuid={USER}", "--regid=nogroup", "--clear-groups", *argv]
    return shlex.join(words) + '; exit "$?"'


def closed_folder(path: Path) -> Path | None:
    """The outermost folder on the way to ``path`` that others may not pass, if there is one."""
    for folder in [*reversed(path.parents), path]:
        if not folder.stat().st_mode & stat.S_IXOTH:
            return folder
    return None
