"""Keep a process's secrets in it: overwritten in its command line, as mount.cifs does, and in no
core dump.

``ps`` shows the memory in which the kernel laid the arguments out; writing there changes what it
shows. The command that a password was typed on lives for a second or more while the server answers.
"""

from __future__ import annotations

import contextlib
import ctypes
import os
import re
from collections.abc import Iterable
from pathlib import Path

_ARG_START, _ARG_END = 45, 46
"""Places of arg_start and arg_end (proc(5): members 48 and 49) in the text behind ``(comm)``."""

_PR_SET_DUMPABLE = 4


def forbid_dumps() -> None:
    """No core dump of this process is written, and no other process of its user may look into its
    memory (prctl(2), PR_SET_DUMPABLE): what it holds of passwords and keys stays there. Never
    raises."""
    with contextlib.suppress(OSError, AttributeError):
        ctypes.CDLL(None).prctl(_PR_SET_DUMPABLE, 0, 0, 0, 0)


def conceal(secrets: Iterable[str]) -> None:
    """Put asterisks over each secret in /proc/self/cmdline, wherever it stands behind a "=" or
    "%". Never raises.
    """
    with contextlib.suppress(OSError, ValueError, IndexError):
        members = Path("/proc/self/stat").read_text().rpartition(")")[2].split()
        start, end = int(members[_ARG_START]), int(members[_ARG_END])
        if not 0 < start < end:  # a kernel that does not tell
            return
        arguments = ctypes.string_at(start, end - start)
        for secret in filter(None, secrets):
            raw = re.escape(os.fsencode(secret))
            for found in re.finditer(b"(?<=[=%])" + raw, arguments):
                ctypes.memset(start + found.start(), ord("*"), found.end() - found.start())
