"""What smbprotocol has derived, as signer and sealer of our own."""

from __future__ import annotations

from typing import Any

from smbprotocol.exceptions import SMBException

from netfsfuse.smb.connection.crypto import CipherId, Sealer, Signer, SigningAlgorithm

_SMB300, _SMB311 = 0x0300, 0x0311


def signer_of(connection: Any, session: Any) -> Signer:
    """For a session that has a key."""
    if connection.dialect >= _SMB311 and connection.signing_algorithm_id is not None:
        algorithm = SigningAlgorithm(connection.signing_algorithm_id)
    elif connection.dialect >= _SMB300:
        algorithm = SigningAlgorithm.AES_CMAC
    else:
        algorithm = SigningAlgorithm.HMAC_SHA256
    return Signer(algorithm, session.signing_key)


def sealer_of(connection: Any, session: Any) -> Sealer:
    """The same. Raises SMBException where the server cannot encrypt."""
    if not connection.supports_encryption:
        raise SMBException("encryption is required but the server does not support it")
    cipher = connection.cipher_id if connection.dialect >= _SMB311 else CipherId.AES_128_CCM
    return Sealer(
        CipherId(cipher), session.encryption_key, session.decryption_key, session.session_id
    )
