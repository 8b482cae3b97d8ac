"""The limits of readahead. Bytes; all multiples of 64 KiB."""

from __future__ import annotations

from dataclasses import dataclass

from netfsfuse.config import MIB


@dataclass(frozen=True, slots=True)
class AheadConfig:
    """What the mount's options and the server's MaxReadSize allow."""

    rsize: int = MIB  # largest request
    rasize: int = 64 * MIB  # largest window of one handle, all its streams together
    budget: int = 96 * MIB  # windows of all handles together
    fixed_rsize: bool = False  # rsize= was given: every readahead request has that size
    pinned: int = 0  # bytes: the window of the link, not measured; 0: measured. For experiments
