"""One line of what Kerberos says in three, and whether it is worth another try."""

from __future__ import annotations

import pytest

from netfsfuse.errors import LoginRefused, MountError
from netfsfuse.smb.session.kerberos import failure_of

WRAPPED = (
    "Failed to authenticate with server: SpnegoError (7): Major (458752): No credentials were"
    " supplied, or the credentials were unavailable or inaccessible, Minor ({code}): {words},"
    " Context: Processing security token"
)
NO_CACHE = "No Kerberos credentials available (default cache: FILE:/tmp/krb5cc_0)"
UNREACHABLE = 'Cannot contact any KDC for realm "PRIVATE.TEST"'


@pytest.mark.parametrize(
    ("text", "kind", "says"),
    [
        (WRAPPED.format(code=2529639053, words=NO_CACHE), LoginRefused, f"Kerberos: {NO_CACHE}"),
        (
            WRAPPED.format(code=2529639068, words=UNREACHABLE),
            MountError,
            f"Kerberos: {UNREACHABLE}",
        ),
        (
            "Decrypt integrity check failed -1765328353",
            LoginRefused,
            "Kerberos: wrong user name or password (Decrypt integrity check failed)",
        ),
        (f"{UNREACHABLE} -1765328228", MountError, f"Kerberos: {UNREACHABLE}"),
        ("Ticket\nexpired  -1765328352", MountError, "Kerberos: Ticket expired"),
        ("something\nelse", LoginRefused, "login failed: something else"),
    ],
)
def test_in_one_line(text: str, kind: type[MountError], says: str) -> None:
    error = failure_of(Exception(text))
    assert type(error) is kind
    assert str(error) == says
