"""Which password is tried first, and when the login is read again."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from netfsfuse.config import Credentials
from netfsfuse.errors import MountError
from netfsfuse.smb.session.logins import Logins

ONE = Credentials("bob", "one")
TWO = Credentials("bob", "one", password2="two")


def passwords(logins: Logins) -> list[str | None]:
    found = logins.candidates()
    assert all(who.password2 is None and who.username == "bob" for who in found)
    return [who.password for who in found]


def test_one_password_and_two() -> None:
    assert passwords(Logins(ONE)) == ["one"]
    assert passwords(Logins(TWO)) == ["one", "two"]
    assert passwords(Logins(replace(TWO, password2="one"))) == ["one"]


@given(st.lists(st.integers(0, 1)))
def test_the_one_that_worked_goes_first(worked: list[int]) -> None:
    logins = Logins(TWO)
    last = "one"
    for index in worked:
        who = logins.candidates()[index]
        logins.worked(who)
        last = who.password or ""
    assert passwords(logins)[0] == last


def test_it_is_read_again_each_time_and_stays_where_it_cannot_be_read(
    caplog: pytest.LogCaptureFixture,
) -> None:
    said: list[Credentials | MountError] = [TWO]

    def renew() -> Credentials:
        if isinstance(said[0], MountError):
            raise said[0]
        return said[0]

    logins = Logins(TWO, renew)
    logins.worked(logins.candidates()[1])
    assert passwords(logins) == ["two", "one"]
    said[0] = MountError("cannot read credentials file f: gone")
    for _ in range(3):
        assert passwords(logins) == ["two", "one"]
    assert caplog.text.count("cannot read") == 1
    said[0] = Credentials("bob", "three", password2="four")
    assert passwords(logins) == ["three", "four"]
    assert "three" not in caplog.text
