"""The backing file of one file on a mount, found from outside of its daemon: is it whole, pin it.

For ``netfsfuse warm``. Synchronous. Trusts the map, as a hint does: what is wrong is found when it
is read.
"""

from __future__ import annotations

import os
import struct
from dataclasses import dataclass
from pathlib import Path

from cachefiles import coherency
from cachefiles.contentmap import ENTRY, block_count
from cachefiles.folder import PINNED_XATTR
from cachefiles.key import MAP_SUFFIX


@dataclass(frozen=True, slots=True)
class BackingFile:
    """Where an object's files are, if there are any."""

    path: Path

    @classmethod
    def at(cls, place: dict[str, str]) -> BackingFile:
        """From what the mount says of a file (``stats.OBJECT_XATTR``)."""
        name = place["object"]
        return cls(Path(place["cachedir"]) / "volumes" / place["volume"] / name[:2] / name)

    def is_whole(self, size: int) -> bool:
        """Whether all blocks of a file of ``size`` bytes are stored."""
        try:
            raw = os.getxattr(self.path, coherency.RECORD_XATTR)
            record = coherency.decode(raw)
            if record is None or record.size != size:
                return False
            with open(f"{self.path}{MAP_SUFFIX}", "rb", buffering=0) as side:
                entries = side.read(block_count(size) * ENTRY)
        except OSError:
            return False
        count = len(entries) // ENTRY
        return count == block_count(size) and 0 not in struct.unpack(f"<{count}Q", entries)

    def pin(self) -> bool:
        """Keep it from being culled; False when there is nothing stored."""
        try:
            os.setxattr(self.path, PINNED_XATTR, b"1")
        except FileNotFoundError:
            return False
        return True
