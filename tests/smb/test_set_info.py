"""SET_INFO, and the CLOSE that asks for attributes, by smbprotocol's structures."""

from __future__ import annotations

import struct

import pytest
from hypothesis import given
from hypothesis import strategies as st
from smbprotocol import file_info
from smbprotocol import open as theirs

from netfsfuse.errors import NameTooLong, ProtocolError
from netfsfuse.smb.wire.attributes import with_read_only
from netfsfuse.smb.wire.create import pack_close, parse_close
from netfsfuse.smb.wire.filetime import nanoseconds, ticks_of
from netfsfuse.smb.wire.header import Command
from netfsfuse.smb.wire.set_info import (
    pack_set_basic,
    pack_set_disposition,
    pack_set_end_of_file,
    pack_set_rename,
)
from netfsfuse.types import DIRECTORY, READ_ONLY, FileAttr
from tests.smb import replies

HANDLES = st.binary(min_size=16, max_size=16)
TIMES = st.integers(-(2**60), 2**60)


def buffer_of(body: bytes, handle: bytes, kind: int) -> bytes:
    """What a SET_INFO sets; its head is held against the specification's."""
    message = theirs.SMB2SetInfoRequest()
    message.unpack(body)
    assert message["info_type"].get_value() == 1
    assert message["file_info_class"].get_value() == kind
    assert message["buffer_offset"].get_value() == 64 + 32
    assert message["file_id"].get_value() == handle
    assert message["additional_information"].get_value() == 0
    buffer: bytes = message["buffer"].get_value()
    assert message["buffer_length"].get_value() == len(buffer)
    return buffer


@given(HANDLES, st.none() | TIMES, st.none() | TIMES, st.sampled_from([0, 1, 0x80]))
def test_times_and_attributes(
    handle: bytes, access: int | None, write: int | None, attributes: int
) -> None:
    body = pack_set_basic(handle, access=access, write=write, attributes=attributes)
    buffer = buffer_of(body, handle, file_info.FileInformationClass.FILE_BASIC_INFORMATION)
    creation, last_access, last_write, change, bits, _ = struct.unpack("<qqqqII", buffer)
    assert (creation, change, bits) == (0, 0, attributes)
    for stated, wanted in ((last_access, access), (last_write, write)):
        if wanted is None:
            assert stated == 0
        else:
            assert nanoseconds(stated) == wanted // 100 * 100


@given(HANDLES, st.text(min_size=1, max_size=40), st.booleans())
def test_a_new_name(handle: bytes, name: str, replace: bool) -> None:
    body = pack_set_rename(handle, name, replace=replace)
    buffer = buffer_of(body, handle, file_info.FileInformationClass.FILE_RENAME_INFORMATION)
    assert len(buffer) >= 24
    encoded = name.encode("utf-16-le", "surrogatepass")
    assert buffer[0] == replace
    assert buffer[1:16] == bytes(15)
    assert struct.unpack_from("<I", buffer, 16) == (len(encoded),)
    assert buffer[20:].startswith(encoded)
    assert not buffer[20 + len(encoded) :].strip(b"\0")


def test_a_new_name_longer_than_the_wire_can_say() -> None:
    with pytest.raises(NameTooLong):
        pack_set_rename(bytes(16), "x" * 32768, replace=False)


@given(HANDLES, st.integers(0, 2**63 - 1), st.booleans())
def test_size_and_removal(handle: bytes, size: int, remove: bool) -> None:
    kinds = file_info.FileInformationClass
    body = pack_set_end_of_file(handle, size)
    ended = buffer_of(body, handle, kinds.FILE_END_OF_FILE_INFORMATION)
    assert ended == struct.pack("<Q", size)
    body = pack_set_disposition(handle, remove=remove)
    assert buffer_of(body, handle, kinds.FILE_DISPOSITION_INFORMATION) == bytes([remove])


@given(TIMES)
def test_a_time_comes_back_as_near_as_the_wire_states_it(moment: int) -> None:
    assert nanoseconds(ticks_of(moment)) == moment // 100 * 100


@pytest.mark.parametrize("ticks", [0, -1, -2])
def test_no_time_is_one_that_means_something_else(ticks: int) -> None:
    assert ticks_of((ticks - 116_444_736_000_000_000) * 100) == 1


@pytest.mark.parametrize("moment", [10**30, -(10**30)])
def test_a_time_beyond_the_wire_is_stated_as_its_end(moment: int) -> None:
    assert abs(ticks_of(moment)) >= 2**63 - 1
    pack_set_basic(bytes(16), write=moment)


@given(st.integers(0, 0xFFFFFFFF), st.booleans())
def test_attributes_are_never_none_and_others_stay(before: int, read_only: bool) -> None:
    now = with_read_only(before, read_only)
    assert now
    assert bool(now & 1) is read_only
    assert now & 0x3126 == before & 0x3126
    assert not now & 0x10


@given(HANDLES, st.booleans())
def test_a_close_that_asks_for_attributes(handle: bytes, postquery: bool) -> None:
    message = theirs.SMB2CloseRequest()
    message.unpack(pack_close(handle, postquery=postquery))
    assert message["flags"].get_value() == int(postquery)
    assert message["file_id"].get_value() == handle


def closed(flags: int, *times: int, size: int = 0, attributes: int = 0) -> memoryview:
    body = struct.pack("<HHIqqqqQQI", 60, flags, 0, *times, size + 7, size, attributes)
    return memoryview(replies.reply(Command.CLOSE, 1, body))


@pytest.mark.parametrize(("attributes", "flags"), [(0x20, 0), (0x21, READ_ONLY), (0x10, DIRECTORY)])
def test_what_a_close_brings(attributes: int, flags: int) -> None:
    times = [ticks_of(moment) for moment in (100, 200, 300, 400)]
    attr = parse_close(closed(1, *times, size=5, attributes=attributes), 77)
    assert attr == FileAttr(77, 100, 200, 300, 400, 5, 12, flags)


def test_a_close_that_brings_nothing() -> None:
    assert parse_close(closed(0, 0, 0, 0, 0), 77) is None
    with pytest.raises(ProtocolError):
        parse_close(closed(1, 1, 1, 1, 1)[:-1], 77)
