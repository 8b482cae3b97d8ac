"""Signing and encryption agree with smbprotocol's, in both directions; tampering is seen."""

from __future__ import annotations

import os
from types import SimpleNamespace

import pytest
from hypothesis import given
from hypothesis import strategies as st
from smbprotocol.connection import Connection, Dialects, SMB2TransformHeader

from netfsfuse.errors import ProtocolError
from netfsfuse.smb.connection.crypto import (
    TRANSFORM_SIZE,
    CipherId,
    Sealer,
    Signer,
    SigningAlgorithm,
)
from netfsfuse.smb.wire.header import FLAG_RESPONSE, FLAG_SIGNED, pack_cancel
from tests.smb import replies

KEY = bytes(range(16))
OTHER = bytes(range(16, 32))
SESSION = 0x1122334455667788
DIALECTS = {
    SigningAlgorithm.HMAC_SHA256: Dialects.SMB_2_1_0,
    SigningAlgorithm.AES_CMAC: Dialects.SMB_3_0_2,
    SigningAlgorithm.AES_GMAC: Dialects.SMB_3_1_1,
}


def their_signature(algorithm: SigningAlgorithm, message: bytes, message_id: int) -> bytes:
    connection = SimpleNamespace(dialect=DIALECTS[algorithm], signing_algorithm_id=algorithm.value)
    signature: bytes = Connection._generate_signature(
        connection, message, KEY, message_id, bool(message[16] & FLAG_RESPONSE), message[12]
    )
    return signature


def signable(message_id: int, payload: bytes, flags: int) -> bytearray:
    body = replies.read_body(payload)
    return bytearray(replies.reply(8, message_id, body, flags=flags | FLAG_SIGNED))


@pytest.mark.parametrize("algorithm", SigningAlgorithm)
@given(st.integers(0, 2**64 - 2), st.binary(max_size=200), st.sampled_from([0, FLAG_RESPONSE]))
def test_signatures_agree(
    algorithm: SigningAlgorithm, message_id: int, payload: bytes, flags: int
) -> None:
    message = signable(message_id, payload, flags)
    Signer(algorithm, KEY).sign(message)
    assert bytes(message[48:64]) == their_signature(algorithm, bytes(message), message_id)
    Signer(algorithm, KEY).verify(memoryview(message))


@pytest.mark.parametrize("algorithm", SigningAlgorithm)
def test_a_cancel_is_signed_in_a_way_of_its_own(algorithm: SigningAlgorithm) -> None:
    """It has the MessageId of another request: under GMAC that would be one nonce for both."""
    message = pack_cancel(7, 1 << 40, SESSION, signed=True)
    Signer(algorithm, KEY).sign(message)
    assert bytes(message[48:64]) == their_signature(algorithm, bytes(message), 7)


@pytest.mark.parametrize("algorithm", SigningAlgorithm)
@given(st.data())
def test_one_changed_bit_is_seen(algorithm: SigningAlgorithm, data: st.DataObject) -> None:
    message = signable(7, b"some payload", FLAG_RESPONSE)
    Signer(algorithm, KEY).sign(message)
    at = data.draw(st.integers(0, len(message) - 1))
    message[at] ^= 1 << data.draw(st.integers(0, 7))
    with pytest.raises(ProtocolError):
        Signer(algorithm, KEY).verify(memoryview(message))


@pytest.mark.parametrize("algorithm", SigningAlgorithm)
def test_another_key_does_not_fit(algorithm: SigningAlgorithm) -> None:
    message = signable(7, b"", FLAG_RESPONSE)
    Signer(algorithm, OTHER).sign(message)
    with pytest.raises(ProtocolError):
        Signer(algorithm, KEY).verify(memoryview(message))


class Theirs:
    """smbprotocol's encryption: the server's end of ``sealer``."""

    def __init__(self, cipher: CipherId) -> None:
        size = 32 if cipher.name.startswith("AES_256") else 16
        self.to_server, self.to_client = os.urandom(size), os.urandom(size)
        self.session = SimpleNamespace(
            session_id=SESSION, encryption_key=self.to_client, decryption_key=self.to_server
        )
        self.connection = SimpleNamespace(
            dialect=Dialects.SMB_3_1_1,
            cipher_id=cipher.value,
            session_table={SESSION: self.session},
        )
        self.sealer = Sealer(cipher, self.to_server, self.to_client, SESSION)

    def seal(self, message: bytes) -> bytes:
        packed: bytes = Connection._encrypt(self.connection, message, self.session).pack()
        return packed

    def unseal(self, sealed: bytes) -> bytes:
        header = SMB2TransformHeader()
        header.unpack(sealed)
        message: bytes = Connection._decrypt(self.connection, header)
        return message


def unseal(sealer: Sealer, sealed: bytes) -> bytes:
    return sealer.unseal(memoryview(sealed[:TRANSFORM_SIZE]), bytearray(sealed[TRANSFORM_SIZE:]))


@pytest.mark.parametrize("cipher", CipherId)
@given(st.binary(min_size=64, max_size=300))
def test_encryption_agrees(cipher: CipherId, message: bytes) -> None:
    theirs = Theirs(cipher)
    assert theirs.unseal(theirs.sealer.seal(message)) == message
    assert unseal(theirs.sealer, theirs.seal(message)) == message


@pytest.mark.parametrize("cipher", CipherId)
@given(st.data())
def test_changed_ciphertext_is_seen(cipher: CipherId, data: st.DataObject) -> None:
    """Every byte of the header counts too, but the protocol id and the unused nonce's end."""
    theirs = Theirs(cipher)
    sealed = bytearray(theirs.seal(bytes(80)))
    at = data.draw(st.integers(0, len(sealed) - 1))
    sealed[at] ^= 1 << data.draw(st.integers(0, 7))
    with pytest.raises(ProtocolError):
        unseal(theirs.sealer, bytes(sealed))


@pytest.mark.parametrize("cipher", CipherId)
@given(st.binary(min_size=64, max_size=300))
def test_the_beginning_can_be_seen_before_the_rest_is_here(
    cipher: CipherId, message: bytes
) -> None:
    theirs = Theirs(cipher)
    sealed = theirs.seal(message)
    header, begun = sealed[:TRANSFORM_SIZE], sealed[TRANSFORM_SIZE : TRANSFORM_SIZE + 64]
    assert theirs.sealer.peek(memoryview(header), memoryview(begun)) == message[:64]


@pytest.mark.parametrize("cipher", CipherId)
@given(st.binary(min_size=64, max_size=300))
def test_decryption_in_place_agrees(cipher: CipherId, message: bytes) -> None:
    theirs = Theirs(cipher)
    sealed = theirs.seal(message)
    place = memoryview(bytearray(sealed[TRANSFORM_SIZE:] + bytes(16)))
    theirs.sealer.unseal_in_place(memoryview(sealed[:TRANSFORM_SIZE]), place)
    assert place[:-16] == message


@pytest.mark.parametrize("cipher", CipherId)
@given(st.data())
def test_changed_ciphertext_is_seen_in_place(cipher: CipherId, data: st.DataObject) -> None:
    theirs = Theirs(cipher)
    sealed = bytearray(theirs.seal(bytes(80)))
    at = data.draw(st.integers(0, len(sealed) - 1))
    sealed[at] ^= 1 << data.draw(st.integers(0, 7))
    place = memoryview(bytearray(sealed[TRANSFORM_SIZE:] + bytes(16)))
    with pytest.raises(ProtocolError):
        theirs.sealer.unseal_in_place(memoryview(sealed)[:TRANSFORM_SIZE], place)


@pytest.mark.parametrize("cipher", CipherId)
def test_no_nonce_twice(cipher: CipherId) -> None:
    sealer = Theirs(cipher).sealer
    size = 12 if "GCM" in cipher.name else 11
    nonces = [sealer.seal(bytes(64))[20:36] for _ in range(300)]
    assert len(set(nonces)) == 300
    assert {nonce[size:] for nonce in nonces} == {bytes(16 - size)}


def test_a_message_for_another_session_or_of_another_size_is_refused() -> None:
    theirs = Theirs(CipherId.AES_128_GCM)
    sealed = theirs.seal(bytes(100))
    stranger = Sealer(CipherId.AES_128_GCM, theirs.to_server, theirs.to_client, SESSION + 1)
    with pytest.raises(ProtocolError):
        unseal(stranger, sealed)
    with pytest.raises(ProtocolError):
        unseal(theirs.sealer, sealed[:-1])
    with pytest.raises(ProtocolError):
        unseal(theirs.sealer, sealed + b"\0")
