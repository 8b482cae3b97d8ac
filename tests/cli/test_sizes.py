"""Sizes: what is accepted, what is not, and the two directions against each other."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from netfsfuse.cli.sizes import format_size, parse_size
from netfsfuse.errors import UsageError


@pytest.mark.parametrize(
    ("text", "size"),
    [
        ("0", 0),
        ("1048576", 1 << 20),
        ("16K", 16 << 10),
        ("16k", 16 << 10),
        ("4M", 4 << 20),
        ("4MB", 4 << 20),
        ("4MiB", 4 << 20),
        ("512B", 512),
        ("2G", 2 << 30),
        ("1T", 1 << 40),
        ("3P", 3 << 50),
    ],
)
def test_accepted(text: str, size: int):
    assert parse_size(text) == size


@pytest.mark.parametrize(
    "text", ["", "K", "-1", "+1", "1.5M", "4 M", " 4M", "4MM", "4X", "0x10", "1e3", "١", "9" * 30]
)
def test_refused(text: str):
    with pytest.raises(UsageError, match="not a size"):
        parse_size(text)


@settings(deadline=None, max_examples=100)
@given(number=st.integers(0, 10**12), unit=st.sampled_from(["", "K", "m", "G", "ki", "MiB"]))
def test_unit_scales(number: int, unit: str):
    if unit == "ki":  # "i" alone is no unit
        with pytest.raises(UsageError):
            parse_size(f"{number}{unit}")
        return
    power = {"": 0, "K": 1, "m": 2, "G": 3, "MiB": 2}[unit]
    assert parse_size(f"{number}{unit}") == number * 1024**power


@settings(deadline=None, max_examples=200)
@given(st.integers(0, 2**60))
def test_shown_size_is_near_and_short(size: int):
    number, unit = format_size(size).split(" ")
    scale = 1024 ** ["B", "KiB", "MiB", "GiB", "TiB", "PiB"].index(unit)
    assert abs(float(number) * scale - size) <= 0.051 * scale
    assert unit == "PiB" or float(number) < 1024


@pytest.mark.parametrize(
    ("size", "shown"),
    [(0, "0 B"), (1023, "1023 B"), (1024, "1.0 KiB"), (1048575, "1.0 MiB"), (1536, "1.5 KiB")],
)
def test_shown(size: int, shown: str):
    assert format_size(size) == shown
