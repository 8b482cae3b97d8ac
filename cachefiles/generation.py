"""A generation: the span in which the blocks of one pair of files may be trusted together. Pure.

The coherency record says for which version of the remote file the stored blocks stand; the
generation says which blocks belong together at all. They are apart so that a change of our own can
keep what it did not touch: the record is exchanged (a restamp), the number stays, and with it every
entry of the content map. The number is drawn anew, 64 random bits, whenever files are made, which
is whenever content has become untrusted; so it needs no counter that would have to outlive a crash.

The header, xattr ``user.cachefiles.object`` of a backing file, little-endian:

====== ===== ==================================================================
offset bytes meaning
====== ===== ==================================================================
0      r     the record, encoded as in ``coherency.py``, at most 812 bytes
r      8     generation number
r+8    8     XXH3-64 of everything before
====== ===== ==================================================================

Between record and number there may stand 16 bytes more, and a version of this library that does not
know them takes the header for damaged, as it should: flags (8 bytes; bit 0: the object is being
changed, bit 1: the seed is given) and a seed (8 bytes).

- *Unfinished*: the object is being changed by one process, for which alone its blocks are valid.
  What another opener finds, or the same one after a crash, is of no use.
- A seed is given where the object has moved to another key: its hashes keep the seed that they were
  made with, and so do those that come after.

One value, set by one call: a filesystem keeps the old one or the new one, and a torn one fits no
checksum.
"""

from __future__ import annotations

import secrets
import struct
from dataclasses import dataclass

import xxhash

from cachefiles import coherency
from cachefiles.coherency import Record
from cachefiles.contentmap import BLOCK
from cachefiles.extents import Extent

HEADER_XATTR = coherency.RECORD_XATTR

_TAIL = struct.Struct("<QQ")
_EXTRA = struct.Struct("<QQ")
_UNFINISHED, _SEEDED = 1, 2
_DRAWN = 64


@dataclass(frozen=True, slots=True)
class Generation:
    """Generation ``number`` (64 bits) of an object, and the record that it stands for now, or
    before its changes began if it is ``unfinished``. ``given_seed``: as the header gives it."""

    number: int
    record: Record
    unfinished: bool = False
    given_seed: int | None = None

    def seed(self, volume_key: bytes, object_key: bytes) -> int:
        """What the hashes of its blocks are seeded with; the record has no part in it."""
        if self.given_seed is not None:
            return self.given_seed
        return seed_of(volume_key, object_key, self.number)


class Numbers:
    """Draws generation numbers, many with one system call: one a file costs a store of 4 KiB a
    fifteenth of its calls. Not for two threads at once, nor across a fork."""

    def __init__(self) -> None:
        self._drawn: list[int] = []

    def begin(self, record: Record, *, unfinished: bool = False) -> Generation:
        """A generation that there has not been yet."""
        if not self._drawn:
            self._drawn += struct.unpack(f"<{_DRAWN}Q", secrets.token_bytes(8 * _DRAWN))
        return Generation(self._drawn.pop(), record, unfinished)


def check(record: Record) -> None:
    """``ValueError`` for a record that does not fit."""
    coherency.encode(record)


def encode(generation: Generation) -> bytes:
    """The header. ``ValueError`` when the record does not fit."""
    raw = coherency.encode(generation.record)
    seed = generation.given_seed
    if generation.unfinished or seed is not None:
        flags = _UNFINISHED * generation.unfinished | _SEEDED * (seed is not None)
        raw += _EXTRA.pack(flags, seed or 0)
    body = raw + struct.pack("<Q", generation.number)
    return body + struct.pack("<Q", xxhash.xxh3_64_intdigest(body))


def decode(raw: bytes) -> Generation | None:
    """The generation, or None when the header is damaged or of another format."""
    if len(raw) < _TAIL.size:
        return None
    number, check = _TAIL.unpack(raw[-_TAIL.size :])
    if check != xxhash.xxh3_64_intdigest(raw[:-8]):
        return None
    rest = raw[: -_TAIL.size]
    record = coherency.decode(rest)
    if record is not None:
        return Generation(number, record)
    record = coherency.decode(rest[: -_EXTRA.size])
    if record is None:
        return None
    flags, seed = _EXTRA.unpack(rest[-_EXTRA.size :])
    return Generation(number, record, bool(flags & _UNFINISHED), seed if flags & _SEEDED else None)


def seed_of(volume_key: bytes, object_key: bytes, number: int) -> int:
    """The seed for generation ``number`` of one object."""
    digest = xxhash.xxh3_64(struct.pack("<QQQ", len(volume_key), len(object_key), number))
    digest.update(volume_key)
    digest.update(object_key)
    return digest.intdigest()


def kept_blocks(old_size: int, new_size: int) -> int | None:
    """How many blocks from the first on a change of size leaves whole; None: it is no change.

    Entries behind them must go: were the file to grow again, an old entry and old bytes would
    agree, and neither would be the file's any more.
    """
    return None if old_size == new_size else min(old_size, new_size) // BLOCK


def touched_blocks(changed: Extent) -> range:
    """The blocks of which ``changed`` (start, end) has at least a byte."""
    start, end = changed
    return range(start // BLOCK, -(-end // BLOCK))
