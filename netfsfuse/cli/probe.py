"""Asking a filesystem that may hang, in a child process and with a deadline.

A ``stat`` of a FUSE mount whose daemon is stuck sleeps in the kernel and may not even end by
SIGKILL; a thread that sleeps so would keep this process from exiting. A child can be left behind.
"""

from __future__ import annotations

import contextlib
import errno
import json
import os
import subprocess
import sys
from dataclasses import dataclass

_CHILD = """
import json, os, sys
path, name = sys.argv[1], sys.argv[2]
answer = {"real": os.path.realpath(path), "mode": 0, "errno": 0, "value": None}
try:
    answer["mode"] = os.stat(path).st_mode
    if name:
        answer["value"] = os.getxattr(path, name).decode()
except OSError as error:
    answer["errno"] = error.errno
json.dump(answer, sys.stdout)
"""
_AFTER_KILL = 0.5  # seconds for a killed child to go; one that sleeps in the kernel is left behind


@dataclass(frozen=True, slots=True)
class Answer:
    """What the filesystem said: resolved path, st_mode, errno (0: fine), the xattr's text."""

    real: str
    mode: int
    errno: int
    value: str | None

    @property
    def is_dead(self) -> bool:
        """Whether this is a FUSE mount whose daemon is gone."""
        return self.errno in (errno.ENOTCONN, errno.ECONNABORTED)


def probe(path: str, xattr: str = "", *, timeout: float) -> Answer | None:
    """Resolve and stat ``path``, and read ``xattr`` if one is named; None after ``timeout`` s."""
    child = subprocess.Popen(
        [sys.executable, "-I", "-S", "-c", _CHILD, path, xattr],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
    )
    try:
        output, _ = child.communicate(timeout=timeout)
        return Answer(**json.loads(output))
    except subprocess.TimeoutExpired:
        return None
    except ValueError:  # it was killed, or no interpreter could start
        return Answer(os.path.abspath(path), 0, errno.EIO, None)
    finally:
        child.kill()
        with contextlib.suppress(subprocess.TimeoutExpired):
            child.wait(_AFTER_KILL)
        if child.stdout is not None:
            child.stdout.close()
