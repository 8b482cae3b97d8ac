"""What the kernel is told of a file that was opened."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Opened:
    """Answer to an open. ``keep_cache``: the kernel's pages are still right.
    ``attributes_changed``: the kernel's idea of the attributes is not, tell it so first.
    """

    fh: int
    keep_cache: bool
    attributes_changed: bool
