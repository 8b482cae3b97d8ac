"""Cookie key -> file name. Pure.

A cookie key is any binary string by which the filesystem above knows a volume or a file of it.
Names are the XXH3-128 of the key in hex: fixed length, no escaping, evenly spread. Objects are
fanned out over 256 folders by the first two digits, which keeps a folder of a million-file volume
at 4,000 names.

XXH3 is no cryptographic hash, so whatever chooses the keys could make two with one name. The record
of an object (``coherency.py``) therefore carries :func:`identity`, a BLAKE2b digest of both keys: a
file of another key is of no use to us and is replaced.
"""

from __future__ import annotations

import hashlib

import xxhash

IDENTITY_BYTES = 16
MAP_SUFFIX = ".map"


def file_name(key: bytes) -> str:
    """32 hex digits for ``key``."""
    return xxhash.xxh3_128_hexdigest(key)


def object_path(key: bytes) -> str:
    """Path of an object's backing file below its volume's directory: ``3f/3f09...``."""
    name = file_name(key)
    return f"{name[:2]}/{name}"


def identity(volume_key: bytes, object_key: bytes) -> bytes:
    """16 bytes that stand for this object of this volume and no other."""
    digest = hashlib.blake2b(len(volume_key).to_bytes(8, "little"), digest_size=IDENTITY_BYTES)
    digest.update(volume_key)
    digest.update(object_key)
    return digest.digest()
