"""Symlink targets of all kinds that a server may hold."""

from __future__ import annotations

import hashlib
import struct

import pytest
from hypothesis import given
from hypothesis import strategies as st

from netfsfuse.smb.share.reparse import MFSYMLINK_SIZE, parse_mfsymlink, parse_reparse
from netfsfuse.smb.wire import attributes
from netfsfuse.smb.wire.attributes import flags_of
from netfsfuse.types import MAY_BE_LINK


def data_of(tag: int, body: bytes) -> bytes:
    return struct.pack("<IHH", tag, len(body), 0) + body


def windows(tag: int, substitute: str, printed: str) -> bytes:
    names = [name.encode("utf-16-le") for name in (substitute, printed)]
    head = struct.pack("<HHHH", 0, len(names[0]), len(names[0]), len(names[1]))
    flags = bytes(4) if tag == attributes.SYMLINK else b""
    return data_of(tag, head + flags + names[0] + names[1])


@pytest.mark.parametrize(
    ("substitute", "printed", "target"),
    [
        ("\\??\\C:\\dir\\file", "C:\\dir\\file", "C:/dir/file"),
        ("..\\up\\there", "", "../up/there"),
        ("\\??\\C:\\only", "", "C:/only"),
        ("\\??\\UNC\\host\\share\\x", "", "//host/share/x"),
        ("ignored", "\\\\?\\UNC\\host\\share", "//host/share"),
        ("", "", None),
    ],
)
def test_windows_links(substitute: str, printed: str, target: str | None) -> None:
    for tag in (attributes.SYMLINK, attributes.MOUNT_POINT):
        assert flags_of(0x400, tag) == MAY_BE_LINK
        assert parse_reparse(windows(tag, substitute, printed)) == target


def test_wsl_link() -> None:
    assert parse_reparse(data_of(attributes.LX_SYMLINK, b"\2\0\0\0../gr\xc3\xbcn")) == "../grün"
    raw = parse_reparse(data_of(attributes.LX_SYMLINK, b"\2\0\0\0\xff"))
    assert raw is not None
    assert raw.encode("utf-8", "surrogateescape") == b"\xff"
    assert parse_reparse(data_of(attributes.LX_SYMLINK, b"\2\0\0\0")) is None


def test_nfs_link() -> None:
    head = struct.pack("<Q", 0x14B4E4C)
    target = "wohin/auch".encode("utf-16-le")
    assert parse_reparse(data_of(attributes.NFS, head + target)) == "wohin/auch"
    assert parse_reparse(data_of(attributes.NFS, head + target + b"\0\0")) == "wohin/auch"
    assert parse_reparse(data_of(attributes.NFS, head + b"\0\0")) is None
    fifo = struct.pack("<Q", 0x4F464946)
    assert parse_reparse(data_of(attributes.NFS, fifo + target)) is None


def test_half_a_character_at_the_end_is_cut_off() -> None:
    odd = "ab".encode("utf-16-le") + b"\0"
    head = struct.pack("<HHHH", 0, len(odd), 0, 0) + bytes(4)
    assert parse_reparse(data_of(attributes.SYMLINK, head + odd)) == "ab"
    nfs = struct.pack("<Q", 0x14B4E4C)
    assert parse_reparse(data_of(attributes.NFS, nfs + odd)) == "ab"


def test_other_tags_are_no_links() -> None:
    dedup = 0x80000013
    assert flags_of(0x400, dedup) == 0
    assert parse_reparse(data_of(dedup, bytes(100))) is None


def mfsymlink(target: bytes, digest: str | None = None, length: int | None = None) -> bytes:
    digest = digest or hashlib.md5(target, usedforsecurity=False).hexdigest()
    head = f"XSym\n{len(target) if length is None else length:04d}\n{digest}\n".encode()
    return (head + target + b"\n").ljust(MFSYMLINK_SIZE, b" ")


@given(st.binary(min_size=1, max_size=1023))
def test_mfsymlink(target: bytes) -> None:
    found = parse_mfsymlink(mfsymlink(target))
    assert found is not None
    assert found.encode("utf-8", "surrogateescape") == target


@pytest.mark.parametrize(
    "content",
    [
        mfsymlink(b"target", digest="0" * 32),
        mfsymlink(b"target", length=5),
        mfsymlink(b"target", length=1025),
        mfsymlink(b"target")[:-1],
        mfsymlink(b"target") + b" ",
        mfsymlink(b""),
        b"x" * MFSYMLINK_SIZE,
        mfsymlink(b"target").replace(b"0006", b"abcd"),
        mfsymlink(b"target").replace(b"0006\n", b"0006 "),
    ],
)
def test_a_file_that_only_looks_like_an_mfsymlink_is_a_file(content: bytes) -> None:
    assert parse_mfsymlink(content) is None
