"""The stored file of one file on a mount, found from outside of its daemon. For ``warm``."""

from __future__ import annotations

from pathlib import Path

from cachefiles.admin.outside import StoredFile


class BackingFile:
    """What a mount's words about a file lead to."""

    @staticmethod
    def at(place: dict[str, str]) -> StoredFile:
        """From what the mount says (``stats.OBJECT_XATTR``). ``KeyError``: it says less."""
        return StoredFile.at(Path(place["cachedir"]), place["volume"], place["object"])
