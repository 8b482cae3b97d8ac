"""The values options take: numbers, sizes, modes, owners. Pure but for the user database.

Each function takes the option's name for the error and the text after ``=``, and raises
:class:`UsageError` with a line that says what would be right.
"""

from __future__ import annotations

import grp
import math
import pwd
import re

from netfsfuse.cli.sizes import format_size, parse_size
from netfsfuse.errors import UsageError
from netfsfuse.types import CACHE_BLOCK

_ID_LIMIT = 2**32 - 2  # (uid_t) -1 means "no change" to the kernel


def whole_number(name: str, text: str, low: int, high: int) -> int:
    """A decimal number from ``low`` to ``high``, both included."""
    if not re.fullmatch(r"[0-9]{1,18}", text) or not low <= int(text) <= high:
        raise UsageError(f"{name}={text}: must be a number from {low} to {high}")
    return int(text)


def block_size(name: str, text: str, low: int, high: int) -> int:
    """A size from ``low`` to ``high`` bytes, rounded down to whole cache blocks."""
    try:
        size = parse_size(text)
    except UsageError as error:
        raise UsageError(f"{name}={text}: {error}") from None
    if not low <= size <= high:
        raise UsageError(f"{name}={text}: must be from {format_size(low)} to {format_size(high)}")
    return size - size % CACHE_BLOCK


def size(name: str, text: str, low: int = 0) -> int:
    """A size in bytes, at least ``low``."""
    try:
        found = parse_size(text)
    except UsageError as error:
        raise UsageError(f"{name}={text}: {error}") from None
    if found < low:
        raise UsageError(f"{name}={text}: must be {format_size(low)} at least")
    return found


def seconds(name: str, text: str) -> float:
    """A lifetime in seconds, a fraction allowed."""
    try:
        value = float(text)
    except ValueError:
        value = math.nan
    if not 0 <= value <= 2**30:
        raise UsageError(f"{name}={text}: must be a number of seconds")
    return value


def mode(name: str, text: str) -> int:
    """Permission bits in octal, with or without a leading 0 or 0o."""
    if not re.fullmatch(r"(0o)?[0-7]{1,6}", text) or int(text, 8) > 0o7777:
        raise UsageError(f"{name}={text}: must be an octal mode such as 0755")
    return int(text, 8)


def user_id(name: str, text: str) -> int:
    """A uid, from a number or a local user's name."""
    if re.fullmatch(r"[0-9]+", text):
        return whole_number(name, text, 0, _ID_LIMIT)
    try:
        return pwd.getpwnam(text).pw_uid
    except KeyError:
        raise UsageError(f"{name}={text}: there is no such user here") from None


def group_id(name: str, text: str) -> int:
    """A gid, from a number or a local group's name."""
    if re.fullmatch(r"[0-9]+", text):
        return whole_number(name, text, 0, _ID_LIMIT)
    try:
        return grp.getgrnam(text).gr_gid
    except KeyError:
        raise UsageError(f"{name}={text}: there is no such group here") from None


def split_login(text: str) -> tuple[str | None, str, str | None]:
    """(domain, user, password) of ``[DOMAIN/]user[%password]``, mount.cifs's old form."""
    login, percent, password = text.partition("%")
    for separator in "/\\":
        domain, found, user = login.partition(separator)
        if found:
            return domain or None, user, password if percent else None
    return None, login, password if percent else None
