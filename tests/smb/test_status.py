"""The NTSTATUS table: what callers rely on; names and numbers as smbprotocol knows them."""

from __future__ import annotations

import pytest
from smbprotocol.header import NtStatus

from netfsfuse import errors
from netfsfuse.smb import status


@pytest.mark.parametrize(
    ("code", "kind"),
    [
        (0xC0000034, errors.NotFound),
        (0xC000003A, errors.NotFound),
        (0xC0000033, errors.InvalidName),
        (0xC0000022, errors.AccessDenied),
        (0xC0000043, errors.Locked),
        (0xC00000BA, errors.IsADirectory),
        (0xC0000103, errors.NotADirectory),
        (0xC0000106, errors.NameTooLong),
        (0xC0000128, errors.Stale),
        (0xC0000203, errors.Disconnected),
        (0xC000035C, errors.Disconnected),
        (0xC00000C9, errors.Disconnected),
        (0xC0000205, errors.ServerBusy),
        (0xC000009A, errors.ServerBusy),
        (0xC00000BB, errors.NotSupported),
        (0xC0DEC0DE, errors.ServerError),
    ],
)
def test_class_of_a_status(code: int, kind: type[errors.NetfsError]) -> None:
    error = status.error_of(code, "READ 'x'")
    assert type(error) is kind
    assert str(error).startswith("READ 'x': ")
    assert status.name_of(code) in str(error)


def test_names_agree_with_smbprotocol() -> None:
    """Both tables come from [MS-ERREF]; a slip of a digit shows where they overlap."""
    theirs = {value: name for name, value in vars(NtStatus).items() if name.startswith("STATUS_")}
    common = [code for code in status._TABLE if code in theirs]
    assert len(common) > 10
    for code in common:
        assert status.name_of(code) == theirs[code]


def test_login_failures_have_words() -> None:
    assert status.login_failure(0xC000006D) == "wrong user name or password"
    assert "0xC0DEC0DE" in status.login_failure(0xC0DEC0DE)
