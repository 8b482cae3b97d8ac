"""The plan: which cells, which contenders, what is replaced by options."""

from __future__ import annotations

import re

import pytest

from netfsfuse.cli.options import parse_options
from netfsfuse.errors import UsageError
from netfsfuse.lab.bench.plan import GIGABIT, MIB, Kind, Link, Work
from netfsfuse.lab.bench.rows import ROWS, build_plan


def test_rows_of_the_whole_plan() -> None:
    cells = build_plan([])
    assert list(dict.fromkeys(cell.row for cell in cells)) == list(ROWS)
    cold = [cell for cell in cells if cell.row == "cold"]
    assert [cell.link.round_trip for cell in cold] == [0, 0.001, 0.010, 0.050, 0.200]
    kinds = [contender.kind for contender in cold[0].contenders]
    assert kinds == [Kind.OURS, Kind.RCLONE, Kind.SMBCLIENT, Kind.SMBCLIENT_FILE]


def test_sweep_holds_every_shape_on_every_link() -> None:
    cells = build_plan(["sweep"])
    links = {(cell.link.rate, cell.link.round_trip) for cell in cells}
    assert links == {(r, t) for r in (None, GIGABIT) for t in (0, 0.001, 0.010, 0.050)}
    names = [contender.name for contender in cells[0].contenders]
    assert names == ["adaptive", "4x4M", "8x1M", "16x1M", "64x256K", "2x4M"]
    for contender in cells[0].contenders[1:]:
        read, ahead = (
            int(re.search(rf"{name}=(\d+)K", ",".join(contender.options))[1])  # type: ignore[index]
            for name in ("rsize", "rasize")
        )
        count, size = re.fullmatch(r"(\d+)x(\d+[MK])", contender.name).groups()  # type: ignore[union-attr]
        assert read == int(size[:-1]) * (1024 if size[-1] == "M" else 1)
        assert ahead == int(count) * read


def test_every_contenders_options_are_options_of_the_mount() -> None:
    for cell in build_plan([]):
        for contender in cell.contenders:
            if contender.kind is Kind.OURS:
                parse_options(contender.options)


def test_ours_leads_and_names_differ_in_every_cell() -> None:
    for quick in (False, True):
        for cell in build_plan([], quick=quick):
            assert cell.contenders[0].kind is Kind.OURS
            names = [contender.name for contender in cell.contenders]
            assert len(set(names)) == len(names)
            assert cell.weight > 0


def test_size_is_replaced_but_where_the_work_needs_its_own() -> None:
    for cell in build_plan([], size=16 * MIB):
        own = cell.work in (Work.FIRST_BYTE, Work.FIND, Work.GREP, Work.UNTAR)
        assert (cell.size == 16 * MIB) == (not own)


def test_quick_is_smaller_and_less() -> None:
    whole, quick = build_plan([]), build_plan([], quick=True)
    assert sum(cell.weight for cell in quick) < sum(cell.weight for cell in whole) / 2
    assert {cell.row for cell in quick} >= {"cold", "warm", "sweep", "tun", "parallel"}
    assert all(cell.size <= 128 * MIB or cell.fixed_size for cell in quick)


def test_quick_keeps_every_row_that_is_named() -> None:
    assert {cell.row for cell in build_plan(ROWS, quick=True)} == set(ROWS)


def test_an_unknown_row_is_named_with_the_known_ones() -> None:
    with pytest.raises(UsageError, match=r"'colder'.*cold, proxy, cold-nofsc"):
        build_plan(["cold", "colder"])


@pytest.mark.parametrize(
    ("link", "shown"),
    [
        (Link(), "0 ms"),
        (Link(0.05), "50 ms"),
        (Link(0.001, GIGABIT), "1 Gbit/s, 1 ms"),
        (Link(0.05, tun=True), "50 ms, TUN"),
        (Link(proxied=True), "0 ms, proxy"),
    ],
)
def test_a_link_is_shown(link: Link, shown: str) -> None:
    assert link.shown == shown
    assert link.direct == (shown == "0 ms")
