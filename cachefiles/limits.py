"""How much a cache may take: cachefilesd's six percentages and two byte limits. Pure.

As in Linux' cachefiles, percentages speak of what is *free* on the filesystem, of its blocks
(``b``) and of its files (``f``): below ``stop`` nothing more is stored, below ``cull`` culling
begins, and it ends above ``run``. So ``0 <= stop < cull < run < 100``.

Two more, in bytes: ``cachesize`` is the most that the cache itself may take, counted in allocated
blocks; ``cachefree`` is what must stay free on the filesystem. Both are "stop"; culling begins one
step before and ends two steps before, a step being a 32nd of the limit, see :func:`_step`.
"""

from __future__ import annotations

from dataclasses import dataclass

MIB = 1024 * 1024


@dataclass(frozen=True, slots=True)
class Disk:
    """How full a filesystem is: bytes in all and available to us, inodes in all and available.

    ``files`` is 0 where inodes are made as needed (btrfs).
    """

    total: int
    available: int
    files: int
    files_available: int


@dataclass(frozen=True, slots=True)
class Excess:
    """What culling should free: bytes and files, 0 for nothing."""

    bytes: int = 0
    files: int = 0

    def __bool__(self) -> bool:
        return self.bytes > 0 or self.files > 0


@dataclass(frozen=True, slots=True)
class Limits:
    """Percent free, and bytes. The percentages are the kernel's defaults. ``ValueError`` with one
    line for the user when they are not in order."""

    brun: int = 7
    bcull: int = 5
    bstop: int = 1
    frun: int = 7
    fcull: int = 5
    fstop: int = 1
    cachesize: int | None = None
    cachefree: int = 0

    def __post_init__(self) -> None:
        for kind in "bf":
            stop, cull, run = (getattr(self, kind + word) for word in ("stop", "cull", "run"))
            if not 0 <= stop < cull < run < 100:
                raise ValueError(
                    f"0 <= {kind}stop < {kind}cull < {kind}run < 100 must hold, "
                    f"not {kind}stop={stop} {kind}cull={cull} {kind}run={run}"
                )
        if self.cachesize is not None and self.cachesize < MIB:
            raise ValueError("cachesize must be 1 MiB at least")

    def room(self, used: int, disk: Disk) -> int:
        """Bytes that may be allocated now, when the cache takes ``used``; 0 at "stop"."""
        if disk.files and disk.files_available * 100 <= self.fstop * disk.files:
            return 0
        room = min(disk.available - self.bstop * disk.total // 100, disk.available - self.cachefree)
        if self.cachesize is not None:
            room = min(room, self.cachesize - used)
        return max(room, 0)

    def excess(self, used: int, disk: Disk, *, culling: bool) -> Excess:
        """What to free: nothing before "cull"; from there on, ``culling``, until "run"."""
        steps = 2 if culling else 1
        percent, files_percent = (self.brun, self.frun) if culling else (self.bcull, self.fcull)
        wanted = [percent * disk.total // 100 - disk.available]
        if self.cachefree:
            wanted.append(self.cachefree + steps * _step(self.cachefree) - disk.available)
        if self.cachesize is not None:
            wanted.append(used - self.cachesize + steps * _step(self.cachesize))
        files = 0
        if disk.files:  # rounded up: of nine inodes, 7 % are one
            files = -(-files_percent * disk.files // 100) - disk.files_available
        return Excess(max(*wanted, 0), max(files, 0))

    def batch(self, disk: Disk) -> int:
        """Bytes that one process sets aside at a time. What it is set aside from is never
        overdrawn, so a batch is what a full cache may lack, per process: a 64th."""
        whole = disk.total if self.cachesize is None else min(self.cachesize, disk.total)
        return min(max(whole // 64, MIB // 4), 64 * MIB)


def _step(limit: int) -> int:
    return min(max(limit // 32, MIB // 2), 1024 * MIB)
