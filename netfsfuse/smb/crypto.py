"""PURE: signing and encryption of SMB 2/3 messages ([MS-SMB2] 3.1.4.1, 3.1.4.3, 2.2.41).

Measured with cryptography 50 on the reference machine: GMAC over 1 MiB 17 GB/s, GCM decryption
9 GB/s, CMAC 1.3 GB/s; so a 1 MiB reply costs the loop less than a millisecond in the worst case
and needs no thread here.
"""

from __future__ import annotations

import enum
import hmac
import os
import struct
from collections.abc import Callable

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers import algorithms
from cryptography.hazmat.primitives.ciphers.aead import AESCCM, AESGCM
from cryptography.hazmat.primitives.cmac import CMAC

from netfsfuse.errors import ProtocolError
from netfsfuse.smb.wire.header import FLAG_RESPONSE, MAGIC_TRANSFORM, SIGNATURE

_NO_SIGNATURE = bytes(16)
_TRANSFORM = struct.Struct("<4s16s16sIHHQ")
TRANSFORM_SIZE = _TRANSFORM.size


class SigningAlgorithm(enum.IntEnum):
    """[MS-SMB2] 2.2.3.1.7."""

    HMAC_SHA256 = 0
    AES_CMAC = 1
    AES_GMAC = 2


class CipherId(enum.IntEnum):
    """[MS-SMB2] 2.2.3.1.2."""

    AES_128_CCM = 1
    AES_128_GCM = 2
    AES_256_CCM = 3
    AES_256_GCM = 4


class Signer:
    """Signs requests and verifies replies of one session."""

    def __init__(self, algorithm: SigningAlgorithm, key: bytes) -> None:
        self._compute: Callable[[memoryview], bytes]
        if algorithm is SigningAlgorithm.AES_GMAC:
            self._gcm = AESGCM(key)
            self._compute = self._gmac
        elif algorithm is SigningAlgorithm.AES_CMAC:
            self._aes = algorithms.AES(key)
            self._compute = self._cmac
        else:
            self._key = key
            self._compute = self._hmac

    def sign(self, message: bytearray) -> None:
        """Put the signature into a whole message (header to padding), its SIGNED flag set."""
        message[SIGNATURE] = _NO_SIGNATURE
        message[SIGNATURE] = self._compute(memoryview(message))

    def verify(self, message: memoryview) -> None:
        """Raise ProtocolError unless the signature fits. Zeroes the field in place."""
        claimed = bytes(message[SIGNATURE])
        message[SIGNATURE] = _NO_SIGNATURE
        if not hmac.compare_digest(claimed, self._compute(message)):
            raise ProtocolError("a reply's signature does not fit")

    def _gmac(self, message: memoryview) -> bytes:
        role = struct.unpack_from("<I", message, 16)[0] & FLAG_RESPONSE
        nonce = bytes(message[24:32]) + struct.pack("<I", role)
        return self._gcm.encrypt(nonce, b"", message)

    def _cmac(self, message: memoryview) -> bytes:
        mac = CMAC(self._aes)
        mac.update(bytes(message))
        return mac.finalize()

    def _hmac(self, message: memoryview) -> bytes:
        return hmac.digest(self._key, message, "sha256")[:16]


class Sealer:
    """Encrypts requests and decrypts replies of one session.

    Nonces count up from a random start within the connection: a nonce of 11 or 12 bytes never
    repeats under one key.
    """

    def __init__(
        self, cipher: CipherId, encryption_key: bytes, decryption_key: bytes, session_id: int
    ) -> None:
        kind: type[AESGCM] | type[AESCCM]
        if cipher in (CipherId.AES_128_GCM, CipherId.AES_256_GCM):
            kind, self._nonce_size = AESGCM, 12
        else:
            kind, self._nonce_size = AESCCM, 11
        self._encrypt = kind(encryption_key)
        self._decrypt = kind(decryption_key)
        self._session_id = session_id
        self._nonce = int.from_bytes(os.urandom(self._nonce_size), "little")

    def seal(self, message: bytes | bytearray) -> bytes:
        """A TRANSFORM_HEADER and the encrypted message."""
        self._nonce = (self._nonce + 1) % (1 << (8 * self._nonce_size))
        nonce = self._nonce.to_bytes(self._nonce_size, "little")
        header = _TRANSFORM.pack(MAGIC_TRANSFORM, b"", nonce, len(message), 0, 1, self._session_id)
        sealed = self._encrypt.encrypt(nonce, bytes(message), header[20:])
        return b"".join((header[:4], sealed[-16:], header[20:], sealed[:-16]))

    def unseal(self, header: memoryview, sealed: bytearray) -> bytes:
        """The message inside. ``sealed`` is the ciphertext; the tag is appended to it in place.

        Raises ProtocolError when it was tampered with or is for another session.
        """
        magic, tag, nonce, size, _, flags, session_id = _TRANSFORM.unpack(header)
        if magic != MAGIC_TRANSFORM or flags != 1 or session_id != self._session_id:
            raise ProtocolError("an encrypted reply for another session")
        if size != len(sealed):
            raise ProtocolError("an encrypted reply has the wrong size")
        sealed += tag
        try:
            return self._decrypt.decrypt(nonce[: self._nonce_size], sealed, header[20:])
        except InvalidTag:
            raise ProtocolError("an encrypted reply was tampered with") from None
