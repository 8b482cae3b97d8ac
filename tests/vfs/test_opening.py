"""Which way a file is opened: every combination of what may be known of it."""

from __future__ import annotations

from itertools import product

import pytest

from netfsfuse.vfs.files.opening import Opening, choose

FLAGS = ("ask", "is_fetched", "is_known", "leasing", "is_small", "is_open")
NOTHING = dict.fromkeys(FLAGS, False)

SITUATIONS = [dict(zip(FLAGS, each, strict=True)) for each in product((False, True), repeat=6)]


@pytest.mark.parametrize("situation", SITUATIONS, ids=lambda each: "".join(map(str, each.values())))
def test_every_situation(situation: dict[str, bool]) -> None:
    """By what each way promises, not by the order in which ``choose`` asks."""
    way = choose(**situation)
    believed = situation["is_fetched"] or situation["is_known"]
    asked = way in (Opening.FETCH, Opening.LEASE, Opening.OPEN)
    assert asked == (situation["ask"] or not believed)  # nothing is asked that is known
    if situation["ask"]:
        assert way is Opening.OPEN
    if way is Opening.AHEAD:
        assert situation["is_fetched"]
    if way is Opening.MEMORY:
        assert situation["is_known"]
        assert not situation["is_fetched"]  # what was fetched has the bytes
    if way is Opening.LEASE:
        assert situation["leasing"]
    if way is Opening.FETCH:
        assert situation["is_small"]
        assert not situation["is_open"]
        assert not situation["leasing"]  # a lease may cost nothing


@pytest.mark.parametrize(
    ("true", "way"),
    [
        ([], Opening.OPEN),
        (["is_small"], Opening.FETCH),
        (["is_small", "is_open"], Opening.OPEN),
        (["leasing"], Opening.LEASE),
        (["leasing", "is_small", "is_open"], Opening.LEASE),
        (["is_known"], Opening.MEMORY),
        (["is_known", "leasing", "is_small"], Opening.MEMORY),
        (["is_fetched"], Opening.AHEAD),
        (["is_fetched", "is_known", "leasing", "is_small"], Opening.AHEAD),
        (["ask", "is_fetched", "is_known", "leasing", "is_small"], Opening.OPEN),
    ],
)
def test_the_way_of_a_file(true: list[str], way: Opening) -> None:
    assert choose(**NOTHING | dict.fromkeys(true, True)) is way
