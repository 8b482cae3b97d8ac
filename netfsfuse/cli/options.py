"""Reading ``-o`` texts with the table. Pure.

``parse_options`` takes every ``-o`` text in order; of options that contradict each other the last
wins. A password ends at the next comma, as in mount.cifs; a password with a comma goes through the
credentials file or PASSWD.

``Choices.public`` repeats what was given, without secrets, for the command line of the daemon.
"""

from __future__ import annotations

import difflib
import re
from collections.abc import Iterable, Iterator

from netfsfuse.cli import foreign
from netfsfuse.cli.choices import Choices
from netfsfuse.cli.table import OPTIONS, Option
from netfsfuse.errors import UsageError

_ALIKE = 0.6  # difflib's ratio from which a name counts as mistyped
_VERY_ALIKE = 0.75  # two letters of four swapped still are
_OPTION_NAME = re.compile(r"[a-z_]{3,}")
_SECRET = ("pass", "password", "pass2", "password2")
_KNOWN = sorted({*OPTIONS, *foreign.FSTAB, *foreign.ALREADY_SO, *foreign.NOT_TUNED_YET})


def parse_options(texts: Iterable[str]) -> Choices:
    """Read all ``-o`` texts in order. Raises :class:`UsageError`; its message holds no secret."""
    choices = Choices()
    unknown: list[str] = []
    for name, value, follows_secret in _items(texts):
        option = OPTIONS.get(name)
        if option is not None and (value is not None or name != "user"):
            _apply(option, name, value, choices)
        elif not _apply_foreign(name, value, choices):
            unknown.append(_describe_unknown(name, value, follows_secret))
            choices.withheld = True
            continue
        _publish(name, value, choices)
    if unknown and not choices.sloppy:
        raise UsageError(unknown[0])
    choices.notices += (f"{line}, ignored" for line in unknown)
    _add_notices(choices)
    return choices


def _items(texts: Iterable[str]) -> Iterator[tuple[str, str | None, bool]]:
    """(name, value or None, directly after a password) of each option."""
    for text in texts:
        after_secret = False
        for item in text.split(","):
            name, equals, value = item.partition("=")
            name = name.strip()
            if name or equals:
                yield name, value if equals else None, after_secret
                after_secret = name in _SECRET or (name in ("user", "username") and "%" in value)


def _apply(option: Option, name: str, value: str | None, choices: Choices) -> None:
    if option.value and value is None:
        raise UsageError(f"option {name} needs a value: {name}={option.value}")
    if option.value and value == "" and name not in _SECRET:
        raise UsageError(f"option {name} has an empty value: {name}={option.value}")
    if not option.value and value is not None:
        raise UsageError(f"option {name} takes no value")
    option.apply(choices, value or "")


def _apply_foreign(name: str, value: str | None, choices: Choices) -> bool:
    """Deal with a name of :mod:`foreign`; whether it is one."""
    if name in foreign.NOT_YET:
        raise UsageError(f"option {name} is not supported yet")
    if name in foreign.NOT_TUNED_YET:
        choices.notices.append(f"option {name} has no effect yet")
        return True
    known = name in foreign.FSTAB or name in foreign.ALREADY_SO
    if known and value is not None and name != "user":
        raise UsageError(f"option {name} takes no value")
    return known or f"{name}=".startswith(foreign.FSTAB_PREFIXES)


def secrets_in(texts: Iterable[str]) -> list[str]:
    """The passwords that stand in ``texts``, those that a later option overrides included."""
    secrets = []
    for name, value, _ in _items(texts):
        if name in _SECRET:
            secrets.append(value or "")
        elif name in ("user", "username"):
            secrets.append((value or "").partition("%")[2])
    return secrets


def _describe_unknown(name: str, value: str | None, follows_secret: bool) -> str:
    """The error for a name we do not know, with the nearest one.

    What stands bare behind a password may be the rest of the password, cut off at a comma: it is
    named only when it is very like an option.
    """
    near = difflib.get_close_matches(name, _KNOWN, 1, _VERY_ALIKE if follows_secret else _ALIKE)
    if near:
        return f"unknown option {name} (did you mean {near[0]}?)"
    if follows_secret and not (value is not None and _OPTION_NAME.fullmatch(name)):
        return (
            "unknown option after the password; a password with a comma goes into "
            "credentials=FILE or PASSWD"
        )
    nearest = difflib.get_close_matches(name, _KNOWN, 1, 0.0)
    return f"unknown option {name} (the nearest is {nearest[0]})"


def _publish(name: str, value: str | None, choices: Choices) -> None:
    if name in _SECRET:
        choices.withheld = True
        choices.exposed = choices.exposed or bool(value)
        return
    if name in ("user", "username") and value is not None and "%" in value:
        choices.withheld = choices.exposed = True
        value = value.partition("%")[0]
    choices.public.append(name if value is None else f"{name}={value}")


def _add_notices(choices: Choices) -> None:
    if choices.exposed:
        choices.notices.append(
            "a password on the command line can be seen by other users: "
            "use credentials=FILE or PASSWD"
        )
