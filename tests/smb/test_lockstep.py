"""The questions at a handshake's end: nothing unproved is taken where there is a key."""

from __future__ import annotations

import socket
import struct
import time
from collections.abc import Iterator
from dataclasses import dataclass

import pytest

from netfsfuse.errors import Disconnected, ProtocolError
from netfsfuse.smb.connection.crypto import CipherId, Signer, SigningAlgorithm
from netfsfuse.smb.session.handshake_transport import HandshakeTransport
from netfsfuse.smb.session.lockstep import Lockstep
from netfsfuse.smb.wire.header import FLAG_SIGNED, Command
from tests.smb import replies
from tests.smb.peer import KEYS, SESSION, sealers

NOT_KNOWN = 0xC0000010
SIGNER = Signer(SigningAlgorithm.AES_CMAC, KEYS[0])


@dataclass
class Line:
    """A lockstep whose next MessageId is 10, and the server's end of it."""

    lockstep: Lockstep
    server: socket.socket

    def say(self, reply: bytes, *, signed: bool = False) -> None:
        message = bytearray(reply)
        if signed:
            message[16] |= FLAG_SIGNED
            SIGNER.sign(message)
        self.server.sendall(len(message).to_bytes(4, "big") + message)


@pytest.fixture
def line() -> Iterator[Line]:
    ours, theirs = socket.socketpair()
    transport = HandshakeTransport(time.monotonic() + 10)
    transport.sock, transport.connected = ours, True
    lockstep = Lockstep(transport, SESSION, next_message_id=10, credits=2, multi_credit=True)
    yield Line(lockstep, theirs)
    transport.dispose(keep_socket=False)
    theirs.close()


def answer(message_id: int = 10, command: Command = Command.IOCTL, **more: int) -> bytes:
    return replies.reply(command, message_id, replies.error_body(), **more)


def test_an_error_that_is_signed_is_an_answer(line: Line) -> None:
    """A server too old for FSCTL_VALIDATE_NEGOTIATE_INFO says so, and proves it."""
    line.lockstep.signer = SIGNER
    line.say(answer(status=NOT_KNOWN, credits=5), signed=True)
    header, _ = line.lockstep.ask(Command.IOCTL, b"question", tree_id=3)
    assert header.status == NOT_KNOWN
    asked = line.server.recv(100)[4:]
    assert struct.unpack_from("<Q", asked, 24) == (10,)
    assert struct.unpack_from("<I", asked, 36) == (3,)
    assert asked[16] & FLAG_SIGNED
    SIGNER.verify(memoryview(bytearray(asked)))
    assert (line.lockstep.next_message_id, line.lockstep.credits) == (11, 2 - 1 + 5)


def test_an_error_without_a_signature_is_none(line: Line) -> None:
    line.lockstep.signer = SIGNER
    line.say(answer(status=NOT_KNOWN))
    with pytest.raises(ProtocolError, match="IOCTL is not signed"):
        line.lockstep.ask(Command.IOCTL, b"question")


def test_a_signature_of_something_else(line: Line) -> None:
    line.lockstep.signer = Signer(SigningAlgorithm.AES_CMAC, KEYS[1])
    line.say(answer(), signed=True)
    with pytest.raises(ProtocolError, match="does not fit"):
        line.lockstep.ask(Command.IOCTL, b"question")


def test_in_an_encrypted_session_a_signature_is_not_enough(line: Line) -> None:
    line.lockstep.signer = SIGNER
    line.lockstep.sealer, theirs = sealers(CipherId.AES_128_GCM)
    line.say(theirs.seal(answer(status=NOT_KNOWN)))
    assert line.lockstep.ask(Command.IOCTL, b"question")[0].status == NOT_KNOWN
    line.say(answer(11), signed=True)
    with pytest.raises(ProtocolError, match="not encrypted"):
        line.lockstep.ask(Command.IOCTL, b"question")


def test_the_answer_may_take_its_time_but_not_for_ever(line: Line) -> None:
    line.say(replies.interim(Command.IOCTL, 10))
    line.say(answer())
    assert line.lockstep.ask(Command.IOCTL, b"question")[0].status == 0
    for _ in range(20):
        line.say(replies.interim(Command.IOCTL, 11))
    with pytest.raises(ProtocolError, match="never answered"):
        line.lockstep.ask(Command.IOCTL, b"question")


@pytest.mark.parametrize(
    "other", [answer(11), answer(command=Command.TREE_CONNECT), answer()[:63], b"\xfeSMB" * 20]
)
def test_an_answer_to_something_else(line: Line, other: bytes) -> None:
    line.say(other)
    with pytest.raises(ProtocolError):
        line.lockstep.ask(Command.IOCTL, b"question")


def test_no_answer_and_no_credits(line: Line) -> None:
    line.server.shutdown(socket.SHUT_WR)
    with pytest.raises(Disconnected):
        line.lockstep.ask(Command.IOCTL, b"question")
    line.lockstep.credits = 0
    with pytest.raises(ProtocolError, match="no credits"):
        line.lockstep.ask(Command.IOCTL, b"question")
