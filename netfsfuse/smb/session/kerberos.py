"""PURE: what Kerberos says when it gives no ticket, in a line, and whether asking again is of use.

pyspnego wraps it three times (``SpnegoError (7): Major (458752): ..., Minor (2529639053): words,
Context: ...``); where a password is given, the library below raises an error of its own, which ends
with its code. Codes are those of MIT's krb5_err.et.
"""

from __future__ import annotations

import re

from netfsfuse.errors import LoginRefused, MountError

_MINOR = re.compile(r"Minor \((\d+)\): (.*?)(?:, Context: .*)?$", re.DOTALL)
_OWN = re.compile(r"(.*\S)\s+(-17653\d{5})$", re.DOTALL)
_WRONG = frozenset({-1765328353, -1765328360, -1765328378})
"""Decrypt integrity check failed, preauthentication failed, the user is not known."""

_LATER = frozenset({-1765328228, -1765328230, -1765328164, -1765328352})
"""No KDC can be reached or found, none answers for the realm, the ticket has expired."""


def failure_of(failed: BaseException) -> MountError:
    """The error for the user, of one that a login ended in: LoginRefused where asking again is no
    use before something else has changed."""
    text = " ".join(str(failed).split()) or type(failed).__name__
    if found := _MINOR.search(text):
        code, words = int(found[1]) - (1 << 32), found[2]
    elif found := _OWN.fullmatch(text):
        code, words = int(found[2]), found[1]
    else:
        return LoginRefused(f"login failed: {text}")
    if code in _WRONG:
        return LoginRefused(f"Kerberos: wrong user name or password ({words})")
    kind = MountError if code in _LATER else LoginRefused
    return kind(f"Kerberos: {words}")


def is_own_error(failed: BaseException) -> bool:
    """Whether it comes from the Kerberos library itself."""
    return type(failed).__name__ == "Krb5Error"
