"""An object's files, found from outside of the process that has the cache: is it whole, pin it.

Synchronous. Trusts the map, as a hint does: what is wrong is found when it is read.
"""

from __future__ import annotations

import os
import struct
from dataclasses import dataclass
from pathlib import Path

from cachefiles.contentmap import ENTRY, block_count
from cachefiles.folder import PINNED_XATTR
from cachefiles.generation import HEADER_XATTR, decode
from cachefiles.key import MAP_SUFFIX


@dataclass(frozen=True, slots=True)
class StoredFile:
    """Where an object's files are, if there are any: ``path`` is its backing file."""

    path: Path

    @classmethod
    def at(cls, directory: Path, volume: str, name: str) -> StoredFile:
        """The object ``name`` of the volume named ``volume`` in the cache at ``directory``."""
        return cls(directory / "volumes" / volume / name[:2] / name)

    def is_whole(self, size: int) -> bool:
        """Whether all blocks of a file of ``size`` bytes are stored."""
        try:
            generation = decode(os.getxattr(self.path, HEADER_XATTR))
            if generation is None or generation.record.size != size:
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
