"""Byte sizes as people write them: ``16K``, ``4M``, ``1048576``. Pure."""

from __future__ import annotations

import re

from netfsfuse.errors import UsageError

_UNITS = "KMGTP"
_SIZE = re.compile(rf"([0-9]{{1,18}})([{_UNITS}]?)(?:i?B)?", re.IGNORECASE | re.ASCII)


def parse_size(text: str) -> int:
    """Bytes meant by ``text``; units are powers of 1024 and their case does not matter.

    Raises :class:`UsageError` for anything that is not a whole number with at most one unit.
    """
    match = _SIZE.fullmatch(text)
    if match is None:
        raise UsageError(f"{text!r} is not a size (write 65536, 64K or 4M)")
    digits, unit = match.groups()
    power = _UNITS.index(unit.upper()) + 1 if unit else 0
    return int(digits) * int(1024**power)


def format_size(size: int) -> str:
    """``size`` bytes for a person: at most one decimal, a unit of 1024, never rounded to 1024."""
    value = float(size)
    for unit in ("B", "KiB", "MiB", "GiB", "TiB"):
        shown = f"{value:.0f}" if unit == "B" else f"{value:.1f}"
        if float(shown) < 1024:
            return f"{shown} {unit}"
        value /= 1024
    return f"{value:.1f} PiB"
