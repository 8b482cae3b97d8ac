"""How long a refusal stands: growing pauses, shorter where no login is at stake."""

from __future__ import annotations

from netfsfuse.errors import LoginRefused, Refused
from netfsfuse.smb.session.refusals import Refusals


def attempts(refusal: Refused, seconds: int) -> list[int]:
    """When the server is asked, where a request comes each second and is always refused."""
    refusals, asked = Refusals(), []
    for now in range(seconds):
        if refusals.standing(now) is None:
            asked.append(now)
            refusals.refuse(refusal, now)
    return asked


def test_a_refused_login_is_tried_ever_more_rarely() -> None:
    assert attempts(LoginRefused("no"), 3600) == [0, 5, 25, 105, 425, 1025, 1625, 2225, 2825, 3425]


def test_what_locks_no_account_is_tried_each_minute() -> None:
    assert attempts(Refused("no"), 300) == [0, 5, 25, 85, 145, 205, 265]


def test_once_let_in_it_begins_anew() -> None:
    refusals = Refusals()
    for now in (0, 5, 25):
        refusals.refuse(LoginRefused("no"), now)
    refusals.accept()
    assert (refusals.last, refusals.standing(26)) == (None, None)
    assert refusals.refuse(LoginRefused("no"), 1000) == 5
