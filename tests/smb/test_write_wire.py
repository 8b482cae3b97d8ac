"""WRITE, FLUSH and LOCK, by smbprotocol's structures where it has them."""

from __future__ import annotations

import struct

import pytest
from hypothesis import given
from hypothesis import strategies as st
from smbprotocol import open as theirs

from netfsfuse.errors import ProtocolError
from netfsfuse.smb.wire.header import Command
from netfsfuse.smb.wire.lock import pack_lock, pack_unlock
from netfsfuse.smb.wire.write import REQUEST_OVERHEAD, pack_flush, pack_write, parse_write
from tests.smb import replies

HANDLES = st.binary(min_size=16, max_size=16)
PLACES = st.integers(0, 2**63 - 1)


@given(HANDLES, PLACES, st.binary(min_size=1, max_size=100))
def test_a_write(handle: bytes, start: int, payload: bytes) -> None:
    message = theirs.SMB2WriteRequest()
    message.unpack(pack_write(handle, start, len(payload)) + payload)
    assert message["data_offset"].get_value() == REQUEST_OVERHEAD == 112
    assert message["length"].get_value() == len(payload)
    assert message["offset"].get_value() == start
    assert message["file_id"].get_value() == handle
    assert message["remaining_bytes"].get_value() == 0
    assert message["flags"].get_value() == 0
    assert message["buffer"].get_value() == payload


@given(HANDLES)
def test_a_flush(handle: bytes) -> None:
    message = theirs.SMB2FlushRequest()
    message.unpack(pack_flush(handle))
    assert message["file_id"].get_value() == handle


@given(HANDLES, PLACES, st.integers(1, 2**32))
def test_a_lock_and_its_end(handle: bytes, start: int, length: int) -> None:
    """[MS-SMB2] 2.2.26: one element, exclusive, and waited for."""
    for body, flags in (
        (pack_lock(handle, start, length), 2),
        (pack_unlock(handle, start, length), 4),
    ):
        fields = struct.unpack("<HHI16sQQII", body)
        assert fields == (48, 1, 0, handle, start, length, flags, 0)


@given(st.integers(0, 2**32 - 1))
def test_what_was_taken(count: int) -> None:
    body = struct.pack("<HHIIHH", 17, 0, count, 0, 0, 0)
    message = memoryview(replies.reply(Command.WRITE, 1, body))
    assert parse_write(message) == count
    with pytest.raises(ProtocolError):
        parse_write(message[:70])
