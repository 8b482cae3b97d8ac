"""SMB2 header and transport framing ([MS-SMB2] 2.1, 2.2.1.1, 2.2.1.2)."""

from __future__ import annotations

import enum
import struct
from typing import NamedTuple

from netfsfuse.errors import ProtocolError

MAGIC_PLAIN = b"\xfeSMB"
MAGIC_TRANSFORM = b"\xfdSMB"
MAGIC_SMB1 = b"\xffSMB"

HEADER_SIZE = 64
FRAME_SIZE = 4
MAX_FRAME = 0xFFFFFF
SIGNATURE = slice(48, 64)
UNSOLICITED = 0xFFFFFFFFFFFFFFFF
"""MessageId of an oplock or lease break: no request asked for it."""

FLAG_RESPONSE = 0x01
FLAG_ASYNC = 0x02
FLAG_RELATED = 0x04
FLAG_SIGNED = 0x08

RELATED_FILE_ID = b"\xff" * 16
"""FileId that stands for the one of the request before, in a related compound."""


class Command(enum.IntEnum):
    """[MS-SMB2] 2.2.1: command codes that we send or receive."""

    NEGOTIATE = 0
    SESSION_SETUP = 1
    LOGOFF = 2
    TREE_CONNECT = 3
    TREE_DISCONNECT = 4
    CREATE = 5
    CLOSE = 6
    FLUSH = 7
    READ = 8
    WRITE = 9
    LOCK = 10
    IOCTL = 11
    CANCEL = 12
    ECHO = 13
    QUERY_DIRECTORY = 14
    CHANGE_NOTIFY = 15
    QUERY_INFO = 16
    SET_INFO = 17
    OPLOCK_BREAK = 18


_HEADER = struct.Struct("<4sHHIHHIIQIIQ16s")
_ASYNC_ID = struct.Struct("<Q")


class Header(NamedTuple):
    """The members of a reply's header that this client looks at."""

    status: int
    command: int
    credits: int
    flags: int
    next_command: int
    message_id: int
    session_id: int

    @property
    def is_interim(self) -> bool:
        """STATUS_PENDING: the real reply comes later under the same MessageId."""
        return self.status == 0x00000103 and bool(self.flags & FLAG_ASYNC)


def pack_header(
    *,
    command: int,
    charge: int,
    credit_request: int,
    flags: int,
    next_command: int,
    message_id: int,
    tree_id: int,
    session_id: int,
) -> bytes:
    """A request's header with an empty signature."""
    return _HEADER.pack(
        MAGIC_PLAIN,
        HEADER_SIZE,
        charge,
        0,
        command,
        credit_request,
        flags,
        next_command,
        message_id,
        0,
        tree_id,
        session_id,
        b"",
    )


def pack_cancel(
    message_id: int, async_id: int, session_id: int, *, signed: bool = False
) -> bytearray:
    """A whole CANCEL ([MS-SMB2] 2.2.30) of a request that was answered STATUS_PENDING. It takes the
    request's MessageId, and no credit."""
    flags = FLAG_ASYNC | (FLAG_SIGNED if signed else 0)
    low, high = async_id & 0xFFFFFFFF, async_id >> 32
    header = _HEADER.pack(
        MAGIC_PLAIN,
        HEADER_SIZE,
        0,
        0,
        Command.CANCEL,
        0,
        flags,
        0,
        message_id,
        low,
        high,
        session_id,
        b"",
    )
    return bytearray(header + b"\x04\0\0\0")


def async_id_of(message: bytes | memoryview) -> int:
    """AsyncId of an interim reply, whose header was parsed."""
    async_id: int = _ASYNC_ID.unpack_from(message, 32)[0]
    return async_id


def parse_header(message: bytes | bytearray | memoryview) -> Header:
    """The header of a reply. Raises ProtocolError when it is not one."""
    if len(message) < HEADER_SIZE:
        raise ProtocolError("a reply is shorter than its header")
    magic, size, _, status, command, granted, flags, following, message_id, _, _, session, _ = (
        _HEADER.unpack_from(message)
    )
    if magic != MAGIC_PLAIN or size != HEADER_SIZE or not flags & FLAG_RESPONSE:
        raise ProtocolError("not an SMB2 reply")
    return Header(status, command, granted, flags, following, message_id, session)


def pack_frame(length: int) -> bytes:
    """The 4 bytes in front of every message: a zero and a 24-bit length."""
    return length.to_bytes(4, "big")


def parse_frame(prefix: bytes | bytearray | memoryview) -> int:
    """Length of the message that follows. Raises ProtocolError when this is no SMB frame."""
    if prefix[0] != 0:
        raise ProtocolError("the peer does not speak SMB over TCP")
    length = int.from_bytes(prefix[1:4], "big")
    if length < HEADER_SIZE:
        raise ProtocolError(f"a message of {length} bytes is too short")
    return length


def split_compound(message: memoryview) -> list[memoryview]:
    """The replies in one message, each with its header and padding."""
    replies = []
    while True:
        following = parse_header(message).next_command
        if following == 0:
            replies.append(message)
            return replies
        if following < HEADER_SIZE or following % 8 or following > len(message) - HEADER_SIZE:
            raise ProtocolError("a compound reply is cut wrongly")
        replies.append(message[:following])
        message = message[following:]
