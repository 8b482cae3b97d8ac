"""What access is asked for: no more than the question needs, or the server refuses it."""

from __future__ import annotations

import struct

import pytest

from netfsfuse.smb.share.namespace import SmbNamespace
from netfsfuse.smb.wire.header import Command
from netfsfuse.types import MAY_BE_LINK, DirEntry
from tests.smb import replies
from tests.smb.peer import Asked
from tests.smb.server import Node, Server, attr_of, serving

READ_DATA, READ_ATTRIBUTES = 0x1, 0x80
"""[MS-SMB2] 2.2.13.1. Data of a directory are its names."""


@pytest.mark.parametrize(
    ("question", "wanted"),
    [
        ("stat", READ_ATTRIBUTES),
        ("stat of a directory", READ_ATTRIBUTES),
        ("space", READ_ATTRIBUTES),
        ("read_link", READ_ATTRIBUTES),
        ("mfsymlink", READ_DATA),
        ("open", READ_DATA | READ_ATTRIBUTES),
        ("fetch", READ_DATA | READ_ATTRIBUTES),
        ("list", READ_DATA | READ_ATTRIBUTES),
        ("watch", READ_DATA),
    ],
)
async def test_no_more_is_asked_than_is_needed(question: str, wanted: int) -> None:
    attr = attr_of(7, 4)
    server = Server(
        {
            "f": Node(attr, b"data"),
            "d": Node(attr_of(8, directory=True), entries=[DirEntry("f", attr)]),
            "": Node(attr_of(9, directory=True), entries=[]),
        }
    )
    masks = []

    def hook(asked: Asked) -> bytes | None:
        if asked.command == Command.CREATE:
            masks.append(struct.unpack_from("<I", asked.body, 24)[0])
        if asked.command == Command.IOCTL:
            body = replies.error_body()
            return replies.reply(asked.command, asked.message_id, body, status=0xC0000275)
        if asked.command == Command.QUERY_INFO:
            return replies.reply(
                asked.command,
                asked.message_id,
                replies.output_body(struct.pack("<QQQII", 1, 1, 1, 8, 512)),
                credits=asked.charge,
            )
        return None

    server.hook = hook
    async with serving(server) as session:
        names = SmbNamespace(session)
        if question == "stat":
            await names.stat("f")
        elif question == "stat of a directory":
            await names.stat("d")
        elif question == "space":
            await names.stat_volume()
        elif question == "read_link":
            assert await names.read_link("f", attr._replace(flags=MAY_BE_LINK)) is None
        elif question == "mfsymlink":
            assert await names.read_link("f", attr) is None
        elif question == "open":
            await (await names.open("f"))[0].aclose()
        elif question == "fetch":
            await names.fetch("f", 10)
        elif question == "list":
            await (await names.list("d")).aclose()
        else:
            watch = names.watch("d")
            assert watch is not None
            await watch.begun()
            watch.close()
    assert masks == [wanted]
