"""Replies as a server packs them ([MS-SMB2] 2.2): the other half of ``netfsfuse.smb.wire``."""

from __future__ import annotations

import struct
from collections.abc import Iterator, Sequence

from netfsfuse.smb.wire.header import (
    FLAG_ASYNC,
    FLAG_RESPONSE,
    HEADER_SIZE,
    MAGIC_PLAIN,
    Command,
)
from netfsfuse.types import DIRECTORY, MAY_BE_LINK, NO_TIME, READ_ONLY, DirEntry, FileAttr

PENDING = 0x103
NO_MORE_FILES = 0x80000006

_HEADER = struct.Struct("<4sHHIHHIIQIIQ16s")


def reply(
    command: int,
    message_id: int,
    body: bytes = b"\x04\0\0\0",
    *,
    status: int = 0,
    credits: int = 1,
    flags: int = FLAG_RESPONSE,
    following: int = 0,
) -> bytes:
    """A whole reply, unsigned."""
    return (
        _HEADER.pack(
            MAGIC_PLAIN,
            HEADER_SIZE,
            0,
            status,
            command,
            credits,
            flags,
            following,
            message_id,
            0,
            5,
            77,
            b"",
        )
        + body
    )


def compound(*parts: bytes) -> bytes:
    """Several replies in one message, each padded and pointing to the next."""
    out = b""
    for part in parts[:-1]:
        padded = bytearray(part + bytes(-len(part) % 8))
        struct.pack_into("<I", padded, 20, len(padded))
        out += padded
    return out + parts[-1]


def interim(command: int, message_id: int, *, credits: int = 1) -> bytes:
    """STATUS_PENDING: the ERROR body that real servers send with it."""
    return reply(
        command,
        message_id,
        error_body(),
        status=PENDING,
        credits=credits,
        flags=FLAG_RESPONSE | FLAG_ASYNC,
    )


def error_body() -> bytes:
    """[MS-SMB2] 2.2.2."""
    return struct.pack("<HBBIB", 9, 0, 0, 0, 0)


def read_body(payload: bytes, *, offset: int = 80, gap: int = 0) -> bytes:
    """[MS-SMB2] 2.2.20; ``gap`` bytes of nothing before the payload."""
    return struct.pack("<HBBIII", 17, offset, 0, len(payload), 0, 0) + bytes(gap) + payload


def filetimes(attr: FileAttr) -> Iterator[int]:
    """Creation, access, write and change as the wire has them, [MS-DTYP] 2.3.3."""
    for time in (attr.creation, attr.access, attr.write, attr.change):
        ticks, rest = divmod(time + 11_644_473_600 * 10**9, 100)
        assert time == NO_TIME or (ticks and not rest), "no time of the wire"
        yield 0 if time == NO_TIME else ticks


def attributes(attr: FileAttr) -> int:
    """[MS-FSCC] 2.6; a file that has none of the others is to be archived."""
    bits = {READ_ONLY: 0x01, DIRECTORY: 0x10, MAY_BE_LINK: 0x400}
    return sum(bit for flag, bit in bits.items() if attr.flags & flag) or 0x20


def create_body(
    attr: FileAttr,
    handle: bytes,
    *,
    volume: int = 9,
    lease: tuple[bytes, int] | None = None,
    made: bool = False,
) -> bytes:
    """[MS-SMB2] 2.2.14 with a QFid context, and one with a ``lease``'s key and state."""
    context = b"QFid" + bytes(4) + struct.pack("<QQ16x", attr.file_id, volume)
    contexts = struct.pack("<IHHHHI", 56 if lease else 0, 16, 4, 0, 24, 32) + context
    if lease is not None:
        contexts += struct.pack("<IHHHHI", 0, 16, 4, 0, 24, 52) + b"RqLs" + bytes(4)
        contexts += struct.pack("<16sIIQ16sHH", lease[0], lease[1], 0, 0, b"", 0, 0)
    fixed = struct.pack(
        "<HBBIqqqqQQII16sII",
        89,
        0,
        0,
        2 if made else 1,
        *filetimes(attr),
        attr.allocation,
        attr.size,
        attributes(attr),
        0,
        handle,
        HEADER_SIZE + 88,
        len(contexts),
    )
    return fixed + contexts


def notify_body(changes: Sequence[tuple[int, str]]) -> bytes:
    """[MS-SMB2] 2.2.36 with [MS-FSCC] 2.7.1."""
    output = b""
    for index, (action, name) in enumerate(changes):
        encoded = name.encode("utf-16-le", "surrogatepass")
        length = 12 + len(encoded)
        padding = 0 if index == len(changes) - 1 else -length % 4
        following = length + padding if index < len(changes) - 1 else 0
        output += struct.pack("<III", following, action, len(encoded)) + encoded + bytes(padding)
    return struct.pack("<HHI", 9, HEADER_SIZE + 8, len(output)) + output


def lease_break(key: bytes, state: int, *, acknowledge: bool = True) -> bytes:
    """[MS-SMB2] 2.2.23.2, a whole message: the server leaves ``state``."""
    body = struct.pack("<HHI16sIIIII", 44, 0, acknowledge, key, 3, state, 0, 0, 0)
    return reply(18, 2**64 - 1, body, credits=0)


def output_body(output: bytes) -> bytes:
    """QUERY_DIRECTORY and QUERY_INFO, [MS-SMB2] 2.2.34 and 2.2.38."""
    return struct.pack("<HHI", 9, HEADER_SIZE + 8, len(output)) + output


def directory_output(entries: list[DirEntry]) -> bytes:
    """FileIdFullDirectoryInformation, [MS-FSCC] 2.4.18."""
    out = b""
    for index, entry in enumerate(entries):
        attr = entry.attr
        name = entry.name.encode("utf-16-le", "surrogatepass")
        last = index == len(entries) - 1
        length = 80 + len(name)
        padding = 0 if last else -length % 8
        out += struct.pack(
            "<IIqqqqQQIIIIQ",
            0 if last else length + padding,
            index,
            *filetimes(attr),
            attr.size,
            attr.allocation,
            attributes(attr),
            len(name),
            0xA000000C if attr.may_be_link else 0,
            0,
            attr.file_id,
        )
        out += name + bytes(padding)
    return out


def all_information(attr: FileAttr) -> bytes:
    """The part of FileAllInformation that is looked at, [MS-FSCC] 2.4.2."""
    basic = struct.pack("<qqqqII", *filetimes(attr), attributes(attr), 0)
    standard = struct.pack("<QQIBBH", attr.allocation, attr.size, 1, 0, 0, 0)
    return basic + standard + struct.pack("<Q", attr.file_id) + bytes(24)


def ioctl_body(output: bytes) -> bytes:
    """[MS-SMB2] 2.2.32."""
    at = HEADER_SIZE + 48
    return struct.pack("<HHI16sIIIIII", 49, 0, 0x900A8, b"", at, 0, at, len(output), 0, 0) + output


def examples(attr: FileAttr) -> dict[str, bytes]:
    """One valid reply for each parser, by its name."""
    volume = struct.pack("<QQQII", 1000, 400, 500, 8, 512)
    entries = [DirEntry("one", attr), DirEntry("zwei", attr)]
    return {
        "create": reply(Command.CREATE, 1, create_body(attr, bytes(range(16)))),
        "read": reply(Command.READ, 1, read_body(b"payload")),
        "directory": reply(Command.QUERY_DIRECTORY, 1, output_body(directory_output(entries))),
        "full_size": reply(Command.QUERY_INFO, 1, output_body(volume)),
        "all": reply(Command.QUERY_INFO, 1, output_body(all_information(attr))),
        "notify": reply(Command.CHANGE_NOTIFY, 1, notify_body([(1, "xy"), (2, "z")])),
        "ioctl": reply(Command.IOCTL, 1, ioctl_body(b"reparse data")),
        "compound": compound(
            reply(Command.CREATE, 1), reply(Command.READ, 2, read_body(b"x")), reply(6, 3)
        ),
    }
