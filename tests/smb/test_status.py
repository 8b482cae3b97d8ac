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


def test_a_path_that_is_too_long_for_samba() -> None:
    """It says that something on the way is missing; a name that is missing at its end may be so."""
    assert type(status.error_of(0xC000003A, "CREATE", "ä" * 2048)) is errors.NameTooLong
    assert type(status.error_of(0xC000003A, "CREATE", "a" * 4095)) is errors.NotFound
    assert type(status.error_of(0xC0000034, "CREATE", "a" * 5000)) is errors.NotFound


def test_names_agree_with_smbprotocol() -> None:
    """Both tables come from [MS-ERREF]; a slip of a digit shows where they overlap."""
    theirs = {value: name for name, value in vars(NtStatus).items() if name.startswith("STATUS_")}
    common = [code for code in status._TABLE if code in theirs]
    assert len(common) > 10
    for code in common:
        assert status.name_of(code) == theirs[code]


@pytest.mark.parametrize(
    ("code", "elsewhere", "at_login"),
    [
        (0xC000006D, "PERMANENT", "LOGIN"),  # LOGON_FAILURE
        (0xC0000234, "PERMANENT", "LOGIN"),  # ACCOUNT_LOCKED_OUT
        (0xC0000071, "PERMANENT", "LOGIN"),  # PASSWORD_EXPIRED
        (0xC0000022, "PERMANENT", "LOGIN"),  # ACCESS_DENIED
        (0xC0000418, "PERMANENT", "LOGIN"),  # NTLM_BLOCKED
        (0xC0DEC0DE, "PERMANENT", "LOGIN"),
        (0xC00000BB, "PERMANENT", "LOGIN"),  # NOT_SUPPORTED
        (0xC00000CC, "TRANSIENT", "TRANSIENT"),  # BAD_NETWORK_NAME
        (0xC00000C9, "TRANSIENT", "TRANSIENT"),  # NETWORK_NAME_DELETED
        (0xC000005E, "TRANSIENT", "TRANSIENT"),  # NO_LOGON_SERVERS
        (0xC0000205, "TRANSIENT", "TRANSIENT"),  # INSUFF_SERVER_RESOURCES
        (0xC000009A, "TRANSIENT", "TRANSIENT"),  # INSUFFICIENT_RESOURCES
        (0xC00000D0, "TRANSIENT", "TRANSIENT"),  # REQUEST_NOT_ACCEPTED
        (0xC0000466, "TRANSIENT", "TRANSIENT"),  # SERVER_UNAVAILABLE
        (0xC0000203, "TRANSIENT", "TRANSIENT"),  # USER_SESSION_DELETED
    ],
)
def test_what_a_refusal_means(code: int, elsewhere: str, at_login: str) -> None:
    assert status.refusal_of(code, at_login=False) is status.Refusal[elsewhere]
    assert status.refusal_of(code, at_login=True) is status.Refusal[at_login]


def test_what_ends_a_session_is_worth_another_login() -> None:
    """Whatever makes a live session connect again must not be taken for a refusal then."""
    for code, (_, kind) in status._TABLE.items():
        if kind in (errors.Disconnected, errors.ServerBusy):
            assert status.refusal_of(code, at_login=True) is status.Refusal.TRANSIENT, hex(code)


def test_refusals_have_words() -> None:
    assert status.refusal_words(0xC000006D, at_login=True) == "wrong user name or password"
    assert "NTLM" in status.refusal_words(0xC0000418, at_login=True)
    assert "DFS" in status.refusal_words(0xC0000257, at_login=False)
    assert "DFS" in str(status.error_of(0xC0000257, "CREATE 'x'"))
    for at_login in (False, True):
        assert "0xC0DEC0DE" in status.refusal_words(0xC0DEC0DE, at_login=at_login)
