"""File descriptors of the process: as many as it may have, and some kept back.

A mount needs few for itself, but without one it cannot connect again, and then all reads fail. What
wants one for each open file (the cache) must leave ``KEPT`` of them alone. Imports nothing of this
package.
"""

from __future__ import annotations

import resource
from contextlib import suppress

KEPT = 256
"""For connections and their handshakes, /dev/fuse, the log, and what is open for a moment."""


def raise_limit() -> None:
    """Take as many as the system lets us have."""
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    with suppress(OSError, ValueError):  # more than the kernel's own limit: then as it was
        resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))


def spare() -> int:
    """How many may be used for what can do without: half of them where there are few."""
    soft, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft == resource.RLIM_INFINITY:
        return 1 << 20
    return max(soft // 2, soft - KEPT)
