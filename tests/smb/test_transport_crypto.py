"""Signed and sealed sessions: what fits passes, anything else ends the connection unseen."""

from __future__ import annotations

import pytest
import trio

from netfsfuse.errors import Disconnected, ProtocolError
from netfsfuse.smb.connection.crypto import CipherId, Signer, SigningAlgorithm
from netfsfuse.smb.wire.header import FLAG_SIGNED, UNSOLICITED
from tests.smb import replies
from tests.smb.caller import Caller, all_end_with, waiting
from tests.smb.peer import KEYS, connected, echo
from tests.smb.replies import read_body, reply

SIGNER = Signer(SigningAlgorithm.AES_GMAC, KEYS[0])


@pytest.mark.parametrize("algorithm", SigningAlgorithm)
async def test_signed_session(algorithm: SigningAlgorithm) -> None:
    """Requests are signed; good signatures pass, for replies in place and for others."""
    signer = Signer(algorithm, KEYS[0])
    async with connected(signer=signer) as line, trio.open_nursery() as nursery:
        callers = await waiting(line, nursery)
        late = Caller(line, echo())
        nursery.start_soon(late.run)
        asked = await line.peer.request()
        assert asked.flags & FLAG_SIGNED
        signer.verify(memoryview(bytearray(asked.raw)))
        await line.peer.answer(reply(13, 11))
        await line.peer.send(reply(18, UNSOLICITED, bytes(44)))  # nor need a break be signed
        await line.peer.send(replies.interim(8, 10))  # interim replies carry no signature
        await line.peer.answer(reply(8, 10, read_body(b"y" * 1000), flags=3))
        await line.peer.answer(reply(13, asked.message_id))
        for caller in (*callers, late):
            await caller.over.wait()
            assert caller.error is None
        assert bytes(line.buffers[0].payload[:1000]) == b"y" * 1000


@pytest.mark.parametrize("target", ["read", "echo"])
@pytest.mark.parametrize("how", ["unsigned", "wrong", "changed"])
async def test_signature_that_does_not_fit(target: str, how: str) -> None:
    message = bytearray(reply(8, 10, read_body(bytes(1000))) if target == "read" else reply(13, 11))
    if how != "unsigned":
        message[16] |= FLAG_SIGNED
        (SIGNER if how == "changed" else Signer(SigningAlgorithm.AES_GMAC, KEYS[1])).sign(message)
    if how == "changed":
        message[-1] ^= 1
    async with connected(signer=SIGNER) as line, trio.open_nursery() as nursery:
        callers = await waiting(line, nursery)
        await line.peer.send(bytes(message))
        await all_end_with(callers, ProtocolError)


async def test_unsigned_replies_pass_where_signing_was_not_agreed() -> None:
    async with (
        connected(signer=SIGNER, sign_requests=False) as line,
        trio.open_nursery() as nursery,
    ):
        callers = await waiting(line, nursery)
        await line.peer.send(reply(13, 11))
        await callers[1].over.wait()
        assert callers[1].error is None
        wrong = bytearray(reply(8, 10, read_body(b"")))
        wrong[16] |= FLAG_SIGNED  # signed all the same, and wrongly
        await line.peer.send(bytes(wrong))
        await all_end_with(callers[:1], ProtocolError)


async def test_a_server_that_dropped_the_session_says_so_unsigned() -> None:
    async with connected(signer=SIGNER) as line, trio.open_nursery() as nursery:
        callers = await waiting(line, nursery)
        await line.peer.send(reply(8, 10, replies.error_body(), status=0xC0000203))
        await all_end_with(callers, Disconnected)


@pytest.mark.parametrize("cipher", CipherId)
async def test_sealed_session(cipher: CipherId) -> None:
    async with connected(cipher=cipher) as line, trio.open_nursery() as nursery:
        callers = await waiting(line, nursery)
        await line.peer.answer(reply(8, 10, read_body(b"z" * 700)), reply(13, 11))
        for caller in callers:
            await caller.over.wait()
        assert callers[0].replies[0].transferred == 700
        assert bytes(line.buffers[0].payload[:700]) == b"z" * 700


@pytest.mark.parametrize("how", ["plain", "plain read", "changed", "other session", "long read"])
async def test_sealed_session_refuses_what_is_not_sealed_right(how: str) -> None:
    async with connected(cipher=CipherId.AES_128_GCM) as line, trio.open_nursery() as nursery:
        callers = await waiting(line, nursery)
        assert line.peer.sealer is not None
        payload = bytes(1001 if how == "long read" else 1000)
        message = reply(8, 10, read_body(payload))
        sealed = bytearray(line.peer.sealer.seal(message))
        if how == "changed":
            sealed[-1] ^= 1
        elif how == "other session":
            sealed[44] ^= 1
        elif how.startswith("plain"):
            sealed = bytearray(message if how == "plain read" else reply(13, 11))
        await line.peer.send(bytes(sealed))
        await all_end_with(callers, ProtocolError)
        assert not any(line.buffers[0].payload[:1000])
