"""Requests to messages: which share one, how they are chained, padded and signed. No socket."""

from __future__ import annotations

import itertools
import socket
from collections.abc import Sequence
from typing import cast

from hypothesis import given
from hypothesis import strategies as st

from netfsfuse.smb.connection.crypto import Signer, SigningAlgorithm
from netfsfuse.smb.connection.exchange import PayloadSource, Request
from netfsfuse.smb.connection.outbox import Message, Outbox
from netfsfuse.smb.connection.send import Sender
from netfsfuse.smb.wire.header import FLAG_RELATED, FLAG_SIGNED, HEADER_SIZE, Command
from tests.smb.peer import KEYS, established


class Kept:
    """An outbox that keeps what it is given, or is broken."""

    def __init__(self, broken: OSError | None = None) -> None:
        self.sends: list[list[bytes]] = []
        self.sources: list[list[PayloadSource | None]] = []
        self.broken = broken

    def send(self, messages: Sequence[Message]) -> None:
        if self.broken is not None:
            raise self.broken
        self.sends.append([bytes(message) for message, _ in messages])
        self.sources.append([source for _, source in messages])


def parts_of(message: bytes) -> list[bytes]:
    """The requests of one message, each with its padding."""
    parts = []
    while following := int.from_bytes(message[20:24], "little"):
        parts.append(message[:following])
        message = message[following:]
    return [*parts, message]


def flags_of(part: bytes) -> int:
    return int.from_bytes(part[16:20], "little")


def sender(kept: Kept, broken: list[OSError] | None = None, **more: object) -> Sender:
    ours, theirs = socket.socketpair()
    made = established(ours, **more)  # type: ignore[arg-type]
    ours.close()
    theirs.close()
    heard = broken if broken is not None else []
    return Sender(made, cast(Outbox, kept), lambda charge: charge + 1, heard.append)


@given(st.lists(st.tuples(st.booleans(), st.binary(max_size=30)), min_size=1, max_size=8))
def test_related_and_unrelated_share_no_message(kinds: list[tuple[bool, bytes]]) -> None:
    kept = Kept()
    requests = [Request(Command.ECHO, body, unrelated=unrelated) for unrelated, body in kinds]
    ids = [10 + 3 * index for index in range(len(requests))]
    sender(kept).send(requests, ids)
    (messages,) = kept.sends  # one system call
    sent = []
    for message in messages:
        parts = parts_of(message)
        of_message = []
        for index, part in enumerate(parts):
            message_id = int.from_bytes(part[24:32], "little")
            request = requests[ids.index(message_id)]
            of_message.append(request.unrelated)
            assert part[HEADER_SIZE:].startswith(request.body)
            if index < len(parts) - 1:
                assert len(part) % 8 == 0
                assert len(part) - HEADER_SIZE - len(request.body) < 8
            else:
                assert len(part) == HEADER_SIZE + len(request.body)
            related = bool(flags_of(part) & FLAG_RELATED)
            assert related is (index > 0 and not request.unrelated)
            assert int.from_bytes(part[14:16], "little") == request.charge + 1
            sent.append(message_id)
        assert len(set(of_message)) == 1
    assert sent == ids
    changes = sum(one[0] != other[0] for one, other in itertools.pairwise(kinds))
    assert len(messages) == 1 + changes


def test_each_request_of_a_compound_is_signed_with_its_padding() -> None:
    kept = Kept()
    signer = Signer(SigningAlgorithm.AES_CMAC, KEYS[0])
    requests = [Request(Command.ECHO, b"12345"), Request(Command.ECHO, b"67")]
    sender(kept, signer=signer, sign_requests=True).send(requests, [1, 2])
    ((message,),) = kept.sends
    for part in parts_of(message):
        assert flags_of(part) & FLAG_SIGNED
        signer.verify(memoryview(bytearray(part)))


def test_a_broken_socket_is_told_and_raises_nothing() -> None:
    heard: list[OSError] = []
    failure = BrokenPipeError()
    one = sender(Kept(failure), heard)
    one.send([Request(Command.ECHO, b"")], [1])
    one.cancel(1, 5)
    assert heard == [failure, failure]


def test_a_cancel_goes_by_the_servers_own_name_for_the_request() -> None:
    kept = Kept()
    sender(kept).cancel(9, 0x1234)
    ((message,),) = kept.sends
    assert int.from_bytes(message[12:14], "little") == Command.CANCEL
    assert int.from_bytes(message[32:40], "little") == 0x1234
