"""What a run of the bench measures: rows of cells, each with its contenders. Pure."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import replace

from netfsfuse.errors import UsageError
from netfsfuse.lab.bench.plan import (
    COPY_BESIDE,
    DEFAULT_SIZE,
    DIRECTORIES,
    DISK,
    FILES,
    GIGABIT,
    MIB,
    MIDDLE_SIZE,
    OURS,
    OURS_ASYNC,
    OURS_NOFSC,
    QUICK_SIZE,
    RCLONE,
    RCLONE_AT_ONCE,
    SMBCLIENT,
    SMBCLIENT_FILE,
    UNPACKED,
    Cell,
    Contender,
    Kind,
    Link,
    Work,
)

WRITE_SIZE = 512 * MIB
SMALL_WRITE_SIZE = 128 * MIB
WRITE_ROUND_TRIPS = (0.0, 0.010, 0.050)

ROUND_TRIPS = (0.0, 0.001, 0.010, 0.050, 0.200)
SWEEP_ROUND_TRIPS = (0.0, 0.001, 0.010, 0.050)
SWEEP = (
    ("4x4M", 4, 4096),
    ("8x1M", 8, 1024),
    ("16x1M", 16, 1024),
    ("64x256K", 64, 256),
    ("2x4M", 2, 4096),
)
"""Name, reads in flight, KiB of each."""


def sweep_contenders() -> tuple[Contender, ...]:
    """Adaptive first, then the fixed shapes: ``rsize`` is one read, ``rasize`` all of them.

    Without a cache: the question is about the link, and storing would hide it.
    """
    fixed = tuple(
        Contender(Kind.OURS, name, ("nofsc", f"rsize={size}K", f"rasize={count * size}K"))
        for name, count, size in SWEEP
    )
    return (Contender(Kind.OURS, "adaptive", ("nofsc",)), *fixed)


def channel_contenders(counts: Iterable[int]) -> tuple[Contender, ...]:
    """Ours with so many TCP connections; the first is what the others are compared with."""
    return tuple(
        Contender(
            Kind.OURS, f"ours, {count} channel{'s' * (count > 1)}", (f"max_channels={count}",)
        )
        for count in counts
    )


def _cold() -> list[Cell]:
    contenders = (OURS, RCLONE, SMBCLIENT, SMBCLIENT_FILE)
    return [
        Cell("cold", Work.READ, contenders, Link(trip), _size_at(trip), weight=22)
        for trip in ROUND_TRIPS
    ]


def _cold_nofsc() -> list[Cell]:
    return [
        Cell("cold-nofsc", Work.READ, (OURS_NOFSC, SMBCLIENT), Link(trip), _size_at(trip), weight=8)
        for trip in ROUND_TRIPS
    ]


def _proxy() -> list[Cell]:
    contenders = (OURS, OURS_NOFSC, SMBCLIENT)
    return [Cell("proxy", Work.READ, contenders, Link(proxied=True), weight=12)]


def _size_at(round_trip: float) -> int:
    return MIDDLE_SIZE if round_trip == 0.010 else DEFAULT_SIZE


def _warm() -> list[Cell]:
    return [Cell("warm", Work.WARM, (OURS, RCLONE, DISK), weight=12)]


def _random() -> list[Cell]:
    contenders = (OURS, OURS_NOFSC, RCLONE)
    return [
        Cell("random", Work.RANDOM, contenders, size=MIDDLE_SIZE, depth=depth, weight=14)
        for depth in (1, 32)
    ]


def _parallel() -> list[Cell]:
    contenders = (OURS, RCLONE, SMBCLIENT)
    return [
        Cell("parallel", Work.PARALLEL, contenders, Link(trip), weight=16) for trip in (0.0, 0.050)
    ] + [Cell("parallel", Work.SHARED, (OURS,), size=MIDDLE_SIZE, rounds=1, weight=4)]


def _protected(protection: str) -> list[Cell]:
    contenders = (OURS, OURS_NOFSC, RCLONE, SMBCLIENT)
    return [Cell(protection, Work.READ, contenders, protection=protection, weight=20)]


def _unsigned() -> list[Cell]:
    nosign = tuple(
        Contender(Kind.OURS, f"{one.name}, nosign", (*one.options, "nosign"))
        for one in (OURS, OURS_NOFSC)
    )
    return [Cell("unsigned", Work.READ, (OURS, nosign[0], OURS_NOFSC, nosign[1]), weight=20)]


def _channels() -> list[Cell]:
    nofsc = tuple(replace(c, options=("nofsc", *c.options)) for c in channel_contenders((1, 2, 4)))
    return [
        Cell("channels", Work.READ, nofsc, Link(trip), rounds=3, weight=10) for trip in (0.0, 0.050)
    ]


def _tree() -> list[Cell]:
    weights = {Work.FIND: 8.0, Work.GREP: 35.0}
    return [
        Cell(
            "tree",
            work,
            (OURS, RCLONE),
            Link(trip),
            DIRECTORIES * FILES * 4096,
            fixed_size=True,
            rounds=3,
            weight=weight,
        )
        for work, weight in weights.items()
        for trip in (0.0, 0.010)
    ]


def _sweep() -> list[Cell]:
    return [
        Cell("sweep", Work.READ, sweep_contenders(), Link(trip, rate), rounds=2, weight=18)
        for rate in (None, GIGABIT)
        for trip in SWEEP_ROUND_TRIPS
    ]


def _write() -> list[Cell]:
    contenders = (OURS, OURS_NOFSC, RCLONE, RCLONE_AT_ONCE, SMBCLIENT)
    small = (OURS, OURS_NOFSC, RCLONE_AT_ONCE)
    return [
        Cell("write", Work.WRITE, contenders, Link(trip), WRITE_SIZE, rounds=3, weight=35)
        for trip in WRITE_ROUND_TRIPS
    ] + [Cell("write", Work.WRITE_SMALL, small, size=SMALL_WRITE_SIZE, rounds=3, weight=10)]


def _untar() -> list[Cell]:
    contenders = (OURS, OURS_ASYNC, RCLONE, RCLONE_AT_ONCE, SMBCLIENT)
    return [
        Cell(
            "untar",
            Work.UNTAR,
            contenders,
            Link(trip),
            UNPACKED * 4096,
            fixed_size=True,
            rounds=2,
            weight=60,
        )
        for trip in WRITE_ROUND_TRIPS
    ]


def _tun() -> list[Cell]:
    contenders = (*channel_contenders((1, 4)), SMBCLIENT)
    return [Cell("tun", Work.READ, contenders, Link(0.050, tun=True), MIDDLE_SIZE, weight=15)]


ROWS: dict[str, tuple[str, Callable[[], list[Cell]]]] = {
    "cold": ("cold sequential read, storing to the cache", _cold),
    "proxy": ("the same through a proxy that delays nothing: what long links begin from", _proxy),
    "cold-nofsc": ("cold sequential read without a cache", _cold_nofsc),
    "cp-sync": (
        "cp to a local file, with a sync",
        lambda: [Cell("cp-sync", Work.COPY, (OURS, SMBCLIENT_FILE), weight=10)],
    ),
    "warm": ("read from the disk cache, page cache dropped", _warm),
    "reopen": (
        "read an unchanged file again",
        lambda: [Cell("reopen", Work.REOPEN, (OURS, RCLONE), size=MIDDLE_SIZE, weight=8)],
    ),
    "first-byte": (
        "4 KiB of a cold file, alone and beside a big copy",
        lambda: [
            Cell(
                "first-byte",
                Work.FIRST_BYTE,
                (OURS, RCLONE),
                Link(rate=GIGABIT),
                COPY_BESIDE,
                fixed_size=True,
                weight=12,
            )
        ],
    ),
    "random": ("4 KiB at random, depth 1 and 32 (fio)", _random),
    "parallel": ("8 readers of 8 files, 2 readers of one", _parallel),
    "tree": ("10,000 small files in 100 directories: find -ls, grep -r", _tree),
    "write": ("write one file, and sync it: until the server has it", _write),
    "untar": ("tar x of 1,000 files of 4 KiB: until the server has all", _untar),
    "encrypted": ("cold read, the server demands encryption", lambda: _protected("encrypted")),
    "signed": ("cold read, the server demands signing", lambda: _protected("signed")),
    "unsigned": ("cold read, signed as by default and with nosign", _unsigned),
    "channels": ("1, 2 and 4 TCP connections, without a cache", _channels),
    "sweep": ("how many reads of what size in flight", _sweep),
    "tun": ("cold read over a delaying TUN device", _tun),
}
"""Name: what it asks, and its cells."""

_QUICK_LEFT_OUT = ("channels", "signed", "unsigned")
_QUICK_KINDS = (Kind.RCLONE, Kind.SMBCLIENT, Kind.DISK)
"""The peers that --quick keeps."""
_QUICK_ALONE = (Work.REOPEN, Work.FIRST_BYTE, Work.RANDOM, Work.GREP, Work.UNTAR)
"""Works that --quick gives to ours alone: rclone takes long for them."""


def build_plan(names: Iterable[str], *, size: int | None = None, quick: bool = False) -> list[Cell]:
    """The cells of the rows named, of all rows if none is; in the order of :data:`ROWS`.

    ``size`` replaces the default most that a run reads. ``quick`` leaves out round trips.
    Raises :class:`UsageError` for an unknown row.
    """
    wanted = set(names)
    if unknown := sorted(wanted - set(ROWS)):
        raise UsageError(f"no row is named {unknown[0]!r}; the rows are {', '.join(ROWS)}")
    cells = [
        cell for name, (_, make) in ROWS.items() if not wanted or name in wanted for cell in make()
    ]
    if quick:
        kept = [cell for cell in cells if _is_quick(cell)]
        lost = wanted - {cell.row for cell in kept}  # named, and so wanted all the same
        kept += [next(cell for cell in cells if cell.row == name) for name in ROWS if name in lost]
        cells = [_quickened(cell) for cell in kept]
    return [cell if cell.fixed_size else replace(cell, size=size or cell.size) for cell in cells]


def _is_quick(cell: Cell) -> bool:
    """Whether --quick keeps the cell: every row but two, at few round trips."""
    trip, link = cell.link.round_trip, cell.link
    if cell.row in _QUICK_LEFT_OUT or (cell.work is Work.RANDOM and cell.depth == 1):
        return False
    if cell.row == "tree" or cell.row == "untar":
        return trip == 0.010
    if cell.row == "sweep":
        return trip == 0.010 and link.rate is None
    if cell.row == "parallel" or cell.row == "cold-nofsc":
        return trip == 0.0
    return trip in (0.0, 0.050)


def _quickened(cell: Cell) -> Cell:
    contenders = cell.contenders
    if cell.row != "sweep":
        ours, *others = contenders
        if cell.work in _QUICK_ALONE:
            others = []
        others = [one for one in others if one.kind in _QUICK_KINDS or cell.work is Work.COPY]
        contenders = (ours, *others)
    size = cell.size if cell.fixed_size else min(cell.size, QUICK_SIZE)
    return replace(cell, contenders=contenders, size=size)
