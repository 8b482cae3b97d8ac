"""The words of the bench's plan: cells, contenders, links. Pure.

A *row* is one question (``cold``, ``warm``, ``random``), a *cell* one condition of it (at 50 ms of
round trip), a *contender* one way to do the cell's work. The first contender of a cell is ours:
the ratios are ours against each of the others.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum

MIB = 1024 * 1024
GIGABIT = 125_000_000
"""Bytes a second of the limited link."""

DEFAULT_SIZE = 1024 * MIB
QUICK_SIZE = 128 * MIB
MIDDLE_SIZE = 256 * MIB
"""What is read at 10 ms, where the wanted figures are stated for it, and where size adds nothing
but time."""


class Work(Enum):
    """What the contenders of a cell do."""

    READ = "read one file in order, into nothing"
    COPY = "copy to a local file and sync it"
    WARM = "read from the disk cache, page cache dropped"
    REOPEN = "read an unchanged file again"
    FIRST_BYTE = "read 4 KiB of a cold file, alone and beside a big copy"
    RANDOM = "read 4 KiB at random, with fio"
    PARALLEL = "eight readers of eight files"
    SHARED = "two readers of one file"
    FIND = "find -ls in a tree of small files"
    GREP = "grep -r in a tree of small files"
    WRITE = "write one file in order, until the server has it"
    WRITE_SMALL = "the same by 4 KiB at a time"
    UNTAR = "unpack small files, until the server has all"


class Kind(Enum):
    """The program that does it."""

    OURS = "netfsfuse"
    RCLONE = "rclone"
    SMBCLIENT = "smbclient"
    SMBCLIENT_FILE = "smbclient to a file"
    DISK = "dd"


@dataclass(frozen=True, slots=True)
class Link:
    """The way to the server. ``round_trip`` is added, in s; ``rate`` in bytes/s, None: unlimited.

    ``tun``: over a delaying TUN device, so that TCP's own windows count, instead of the proxy.
    ``proxied``: through the proxy even where it has nothing to add.
    """

    round_trip: float = 0.0
    rate: int | None = None
    tun: bool = False
    proxied: bool = False

    @property
    def direct(self) -> bool:
        """Whether nothing stands between client and server."""
        return not (self.round_trip or self.rate or self.tun or self.proxied)

    @property
    def shown(self) -> str:
        """For the table: ``50 ms``, ``1 Gbit/s, 10 ms``."""
        words = [] if self.rate is None else [f"{self.rate * 8 / 1e9:g} Gbit/s"]
        words.append(f"{self.round_trip * 1000:g} ms")
        words += ["TUN"] * self.tun + ["proxy"] * self.proxied
        return ", ".join(words)


@dataclass(frozen=True, slots=True)
class Contender:
    """A program, the name that the table shows, and options: of our mount, or words for rclone."""

    kind: Kind
    name: str
    options: tuple[str, ...] = ()


OURS = Contender(Kind.OURS, "ours")
OURS_ASYNC = Contender(Kind.OURS, "ours, async", ("async",))
OURS_NOFSC = Contender(Kind.OURS, "ours, nofsc", ("nofsc",))
RCLONE = Contender(Kind.RCLONE, "rclone mount")
RCLONE_AT_ONCE = Contender(Kind.RCLONE, "rclone, no delay", ("--vfs-write-back=0s",))
"""It sends what was written 5 s after the close by default."""
SMBCLIENT = Contender(Kind.SMBCLIENT, "smbclient")
SMBCLIENT_FILE = Contender(Kind.SMBCLIENT_FILE, "smbclient to a file")
DISK = Contender(Kind.DISK, "dd of the backing file")


@dataclass(frozen=True, slots=True)
class Cell:
    """One condition of one row. ``size`` is the most that one run may read, in bytes.

    ``protection`` is ``signed``, ``encrypted`` or empty: what the server demands. ``fixed_size``:
    the work needs just this size. ``rounds`` caps the rounds asked for. ``weight`` is about how
    many seconds a round takes, for the time budget.
    """

    row: str
    work: Work
    contenders: tuple[Contender, ...]
    link: Link = Link()
    size: int = DEFAULT_SIZE
    protection: str = ""
    depth: int = 1
    fixed_size: bool = False
    rounds: int = 99
    weight: float = 10.0

    @property
    def shown(self) -> str:
        """The condition, for the table."""
        words = [self.link.shown]
        if self.work is Work.RANDOM:
            words.append(f"depth {self.depth}")
        if self.work is Work.SHARED:
            words.append("2 readers of 1 file")
        if self.work in (Work.WRITE, Work.WRITE_SMALL):
            words.append("bs=1M" if self.work is Work.WRITE else "bs=4k")
        if self.work in (Work.FIND, Work.GREP):
            words.append("find -ls" if self.work is Work.FIND else "grep -r")
        return ", ".join(words)


COPY_BESIDE = 512 * MIB
"""The big copy beside which a first byte is waited for: four seconds of the limited link."""

DIRECTORIES, FILES = 100, 100
"""The tree of small files: directories, and files of 4 KiB in each."""

UNPACKED = 1000
"""Files of 4 KiB in the archive that is unpacked."""
