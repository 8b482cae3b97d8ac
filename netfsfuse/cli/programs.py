"""Finding other programs. mount(8) runs its helpers with almost no PATH (measured)."""

from __future__ import annotations

import os
import shutil

STANDARD_PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"


def search_path(path: str | None) -> str:
    """``path`` with the standard places behind it."""
    return f"{path}:{STANDARD_PATH}" if path else STANDARD_PATH


def find_program(name: str) -> str | None:
    """The absolute name of a program, or None when it is not installed."""
    return shutil.which(name, path=search_path(os.environ.get("PATH")))
