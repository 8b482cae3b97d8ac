"""What we pack is what [MS-SMB2] says, by smbprotocol's structures; what a server packs comes back.

smbprotocol is the other side: an implementation of the same pages by somebody else.
"""

from __future__ import annotations

import struct

import pytest
from hypothesis import given
from hypothesis import strategies as st
from smbprotocol import ioctl as their_ioctl
from smbprotocol import open as theirs
from smbprotocol.header import SMB2HeaderRequest

from netfsfuse.errors import NameTooLong, ProtocolError
from netfsfuse.smb.wire import create, header, query, read
from netfsfuse.smb.wire.header import HEADER_SIZE, Command
from netfsfuse.smb.wire.tree import parse_tree_connect
from netfsfuse.types import (
    DIRECTORY,
    MAY_BE_LINK,
    NO_TIME,
    READ_ONLY,
    DirEntry,
    FileAttr,
    VolumeStat,
)
from tests.smb import replies

U32 = st.integers(0, 2**32 - 1)
U64 = st.integers(0, 2**64 - 1)
HANDLES = st.binary(min_size=16, max_size=16)
NAMES = st.text(min_size=1, max_size=40)
TIMES = st.just(NO_TIME) | st.integers(-(2**63), 2**63 - 1).filter(bool).map(
    lambda ticks: (ticks - 116_444_736_000_000_000) * 100
)
ATTRS = st.builds(
    FileAttr,
    file_id=st.integers(0, 2**64 - 2),
    creation=TIMES,
    access=TIMES,
    write=TIMES,
    change=TIMES,
    size=st.integers(0, 2**63 - 1),
    allocation=st.integers(0, 2**63 - 1),
    flags=st.integers(0, 7),
)


def value(structure: object, name: str) -> object:
    return structure[name].get_value()  # type: ignore[index]


@given(U64, U32, U64, st.integers(0, 0xFFFF), st.integers(0, 0xFFFF))
def test_request_header(message_id: int, tree: int, session: int, charge: int, ask: int) -> None:
    packed = header.pack_header(
        command=Command.READ,
        charge=charge,
        credit_request=ask,
        flags=header.FLAG_SIGNED,
        next_command=0,
        message_id=message_id,
        tree_id=tree,
        session_id=session,
    )
    assert len(packed) == HEADER_SIZE
    parsed = SMB2HeaderRequest()
    parsed.unpack(packed)
    assert value(parsed, "message_id") == message_id
    assert value(parsed, "tree_id") == tree
    assert value(parsed, "session_id") == session
    assert value(parsed, "credit_charge") == charge
    assert value(parsed, "credit_request") == ask
    assert value(parsed, "command") == 8
    assert value(parsed, "flags") == header.FLAG_SIGNED


@given(HANDLES, U64, U32)
def test_read_request(handle: bytes, start: int, length: int) -> None:
    parsed = theirs.SMB2ReadRequest()
    parsed.unpack(read.pack_read(handle, start, length))
    assert value(parsed, "file_id") == handle
    assert value(parsed, "offset") == start
    assert value(parsed, "length") == length
    assert value(parsed, "padding") == read.REPLY_OVERHEAD == 80


@given(
    st.text(min_size=1, max_size=300),
    st.sampled_from([create.FILE_OPEN, create.FILE_CREATE, create.FILE_OPEN_IF]),
)
def test_create_request(name: str, disposition: int) -> None:
    parsed = theirs.SMB2CreateRequest()
    parsed.unpack(create.pack_create(name, access=0x81, options=0x40, disposition=disposition))
    assert value(parsed, "buffer_path").decode("utf-16-le") == name  # type: ignore[attr-defined]
    assert value(parsed, "desired_access") == 0x81
    assert value(parsed, "create_options") == 0x40
    assert value(parsed, "create_disposition") == disposition
    assert value(parsed, "share_access") == 7
    (context,) = value(parsed, "buffer_contexts")  # type: ignore[misc]
    assert value(context, "buffer_name") == b"QFid"


def test_create_request_for_the_root() -> None:
    """smbprotocol cannot parse an empty name; [MS-SMB2] 2.2.13 wants it of length 0."""
    body = create.pack_create("", access=0x81, options=1)
    name_at, name_length, contexts_at, contexts_length = struct.unpack_from("<HHII", body, 44)
    assert (name_at, name_length) == (HEADER_SIZE + 56, 0)
    assert contexts_at % 8 == 0
    assert body[contexts_at - HEADER_SIZE :][16:20] == b"QFid"
    assert contexts_at - HEADER_SIZE + contexts_length == len(body)


@given(HANDLES, st.booleans())
def test_the_other_requests(handle: bytes, restart: bool) -> None:
    listing = theirs.SMB2QueryDirectoryRequest()
    listing.unpack(query.pack_query_directory(handle, 65536, restart=restart))
    assert value(listing, "buffer").decode("utf-16-le") == "*"  # type: ignore[attr-defined]
    assert value(listing, "file_information_class") == 38
    assert value(listing, "flags") == int(restart)
    assert value(listing, "output_buffer_length") == 65536
    for packed, kind, what in (
        (query.pack_query_full_size(handle), 2, 7),
        (query.pack_query_all(handle), 1, 18),
    ):
        info = theirs.SMB2QueryInfoRequest()
        info.unpack(packed)
        assert (value(info, "info_type"), value(info, "file_info_class")) == (kind, what)
        assert value(info, "file_id") == handle
    control = their_ioctl.SMB2IOCTLRequest()
    control.unpack(query.pack_ioctl(handle, query.FSCTL_GET_REPARSE_POINT, 4096))
    assert value(control, "ctl_code") == 0x900A8
    assert value(control, "max_output_response") == 4096
    assert value(control, "flags") == 1
    closing = theirs.SMB2CloseRequest()
    closing.unpack(create.pack_close(handle))
    assert value(closing, "file_id") == handle
    assert value(closing, "flags") == 0


@given(ATTRS, HANDLES, U64)
def test_create_reply(attr: FileAttr, handle: bytes, volume: int) -> None:
    message = replies.reply(5, 1, replies.create_body(attr, handle, volume=volume))
    created = create.parse_create(memoryview(message))
    assert created == (handle, attr, volume, 0, 1, replies.attributes(attr))


def test_create_reply_without_a_file_id() -> None:
    attr = FileAttr(0, 100, 200, 300, 400, 5, 6, 0)
    body = bytearray(replies.create_body(attr, bytes(16)))
    struct.pack_into("<II", body, 80, 0, 0)
    created = create.parse_create(memoryview(replies.reply(5, 1, bytes(body[:88]))))
    assert created.attr == attr
    assert created.volume_id == 0


@given(st.binary(max_size=300), st.integers(0, 40))
def test_read_reply(payload: bytes, gap: int) -> None:
    body = replies.read_body(payload, offset=80 + gap, gap=gap)
    message = memoryview(replies.reply(8, 1, body))
    offset, length = read.parse_read(message)
    assert message[offset : offset + length] == payload


def test_a_path_longer_than_the_wire_can_say() -> None:
    assert create.pack_create("a" * 32_767, access=1, options=0)
    with pytest.raises(NameTooLong):
        create.pack_create("a" * 32_768, access=1, options=0)


@given(st.lists(st.builds(DirEntry, NAMES, ATTRS), max_size=12))
def test_listing_reply(entries: list[DirEntry]) -> None:
    message = replies.reply(14, 1, replies.output_body(replies.directory_output(entries)))
    assert query.parse_query_directory(memoryview(message)) == entries


@pytest.mark.parametrize(
    ("attributes", "tag", "flags"),
    [
        (0x420, 0xA000000C, MAY_BE_LINK),  # a symlink
        (0x410, 0xA0000003, DIRECTORY | MAY_BE_LINK),  # a junction
        (0x420, 0xA000001D, MAY_BE_LINK),  # of WSL
        (0x420, 0x80000014, MAY_BE_LINK),  # of NFS
        (0x420, 0, MAY_BE_LINK),  # not told
        (0x420, 0x80000013, 0),  # deduplicated
        (0x020, 0xA000000C, 0),  # no tag: the size of its extended attributes
        (0x2027, 0, READ_ONLY),  # hidden, system, not indexed as well
        (0x80, 0, 0),
    ],
)
def test_listing_brings_attributes_and_reparse_tags(attributes: int, tag: int, flags: int) -> None:
    output = bytearray(
        replies.directory_output([DirEntry("f", FileAttr(7, 100, 100, 100, 100, 0, 0, 0))])
    )
    struct.pack_into("<IxxxxI", output, 56, attributes, tag)
    message = replies.reply(14, 1, replies.output_body(bytes(output)))
    (entry,) = query.parse_query_directory(memoryview(message))
    assert entry.attr.flags == flags


@given(ATTRS)
def test_query_replies(attr: FileAttr) -> None:
    examples = {k: memoryview(v) for k, v in replies.examples(attr).items()}
    assert query.parse_all(examples["all"]) == attr
    assert query.parse_full_size(examples["full_size"]) == VolumeStat(4096, 1000, 500, 400)
    assert query.parse_ioctl(examples["ioctl"]) == b"reparse data"


@pytest.mark.parametrize("units", [(0, 512), (8, 0), (2**31, 2**31)])
def test_a_volume_in_which_nothing_can_be_counted(units: tuple[int, int]) -> None:
    volume = struct.pack("<QQQII", 1000, 400, 500, *units)
    with pytest.raises(ProtocolError):
        query.parse_full_size(memoryview(replies.reply(16, 1, replies.output_body(volume))))


def test_a_compound_is_split_where_it_was_joined() -> None:
    parts = header.split_compound(
        memoryview(replies.examples(FileAttr(7, 100, 200, 300, 400, 5, 6, 0))["compound"])
    )
    assert [header.parse_header(part).message_id for part in parts] == [1, 2, 3]
    assert read.parse_read(parts[1]) == (80, 1)


@given(st.integers(header.HEADER_SIZE, header.MAX_FRAME))
def test_frame(length: int) -> None:
    assert header.parse_frame(header.pack_frame(length)) == length


@pytest.mark.parametrize("prefix", [b"HTTP", b"\x83\0\0\1", b"\0\0\0\0", b"\0\0\0\x3f"])
def test_frame_of_another_protocol(prefix: bytes) -> None:
    with pytest.raises(ProtocolError):
        header.parse_frame(prefix)


@pytest.mark.parametrize(
    ("status", "flags", "is_interim"), [(0x103, 3, True), (0x103, 1, False), (0, 3, False)]
)
def test_interim_is_pending_and_async(status: int, flags: int, is_interim: bool) -> None:
    message = replies.reply(8, 1, status=status, flags=flags)
    assert header.parse_header(message).is_interim is is_interim


@pytest.mark.parametrize(
    ("access", "writable"), [(0x001F01FF, True), (0x001200A9, False), (4, True), (0, True)]
)
def test_whether_the_share_may_be_written(access: int, writable: bool) -> None:
    reply = bytearray(64 + 16)
    reply[64:66] = struct.pack("<H", 16)
    reply[76:80] = struct.pack("<I", access)
    assert parse_tree_connect(memoryview(reply)).writable is writable
