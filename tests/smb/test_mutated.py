"""A server that answers with altered messages: each caller gets an answer or an error, and nothing
is left. Without signatures altered messages reach every parser; with them, no caller is told one.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator

import pytest
import trio

from netfsfuse.errors import NetfsError, ProtocolError
from netfsfuse.smb.connection.crypto import Signer, SigningAlgorithm
from netfsfuse.smb.connection.exchange import Request
from netfsfuse.smb.wire.create import parse_create
from netfsfuse.smb.wire.header import FLAG_SIGNED, Command
from netfsfuse.smb.wire.notify import parse_change_notify
from netfsfuse.smb.wire.query import parse_all, parse_query_directory
from netfsfuse.types import DirEntry, FileAttr
from tests.smb import replies
from tests.smb.caller import Caller
from tests.smb.peer import KEYS, Line, connected, echo
from tests.support.messages import Message, Mutation, framed

ATTR = FileAttr(11, 1200, 1300, 1400, 1500, 16, 4096, 0)
PAYLOAD = bytes(range(256)) * 4
ROUND = 12
"""Requests on one connection."""

_READERS: dict[Command, Callable[[memoryview], object]] = {
    Command.CREATE: parse_create,
    Command.QUERY_DIRECTORY: parse_query_directory,
    Command.QUERY_INFO: parse_all,
    Command.CHANGE_NOTIFY: parse_change_notify,
}
_BODIES: dict[Command, bytes] = {
    Command.CREATE: replies.create_body(ATTR, bytes(range(16)), lease=(b"k" * 16, 3)),
    Command.QUERY_DIRECTORY: replies.output_body(
        replies.directory_output([DirEntry(name, ATTR) for name in ("one", "zwei", "drei")])
    ),
    Command.QUERY_INFO: replies.output_body(replies.all_information(ATTR)),
    Command.CHANGE_NOTIFY: replies.notify_body([(1, "xy"), (4, "z"), (5, "zz")]),
    Command.READ: replies.read_body(PAYLOAD),
    Command.ECHO: b"\x04\0\0\0",
}


def requests(line: Line, chance: random.Random) -> Iterator[Request]:
    """One round of all kinds, in any order."""
    for command in chance.choices(list(_BODIES), k=ROUND):
        if command is Command.READ:
            yield line.read(0, len(PAYLOAD))
        elif command is Command.ECHO:
            yield echo()
        else:
            yield Request(command, bytes(32), room=4096)


def answer(command: int, message_id: int, signer: Signer | None) -> Message:
    """The valid reply."""
    whole = Message(replies.reply(command, message_id, _BODIES[Command(command)], credits=2))
    if signer is not None:
        whole[16] |= FLAG_SIGNED
        signer.sign(whole)
    return whole


def look_at(caller: Caller, *, signed: bool) -> None:
    """What the caller was told is right, or an error; unsigned it may be anything but a crash."""
    if not caller.replies:
        assert isinstance(caller.error, NetfsError)
        return
    (request,), (told,) = caller.requests, caller.replies
    if request.sink is not None:
        if signed:
            assert bytes(request.sink.buffer.payload[: told.transferred]) == PAYLOAD
        return
    if signed:
        assert bytes(told.message[64:]) == _BODIES[request.command]
    if request.command in _READERS and not told.status:
        try:
            _READERS[request.command](told.message)
        except ProtocolError:
            assert not signed


async def play(mutation: Mutation, chance: random.Random, signer: Signer | None) -> None:
    """One connection: a round of requests, each answered, some of it altered."""
    async with connected(signer=signer) as line, trio.open_nursery() as nursery:
        callers = [Caller(line, request) for request in requests(line, chance)]
        for caller in callers:
            nursery.start_soon(caller.run)
        asked = await line.peer.requests(ROUND)
        chance.shuffle(asked)
        for one in asked:
            message = answer(one.command, one.message_id, signer)
            changed = mutation(message)
            parts = [message] if changed is None else changed
            if isinstance(parts, (bytes, bytearray)):
                parts = [parts]
            with trio.move_on_after(10) as late:
                try:
                    await line.peer.send_raw(b"".join(framed(bytes(part)) for part in parts))
                except OSError:
                    break  # our side has hung up
            assert not late.cancelled_caught, "nothing is received any more"
        line.peer.close()
        with trio.fail_after(10):
            for caller in callers:
                await caller.over.wait()
        for caller in callers:
            look_at(caller, signed=signer is not None)
        assert line.available < 10_000 * ROUND


async def storm(count: int, signed: bool, seed: int = 1) -> None:
    """``count`` altered messages."""
    chance = random.Random(seed)
    mutation = Mutation(seed, 3)
    signer = Signer(SigningAlgorithm.AES_GMAC, KEYS[0]) if signed else None
    while mutation.changed < count:
        await play(mutation, chance, signer)


@pytest.mark.parametrize("signed", [False, True])
async def test_altered_messages(signed: bool) -> None:
    await storm(1500, signed)


@pytest.mark.soak
@pytest.mark.parametrize("signed", [False, True])
async def test_half_a_million_altered_messages(signed: bool) -> None:
    await storm(500_000, signed, seed=2)
