"""How many bytes the cache takes, counted once for all processes that use it.

``DIR/space`` holds the count, 48 bytes, little-endian: ``CFSP``, format 1 (2 bytes), flags (2; bit
0: to be counted anew), used, set aside, charged, epoch (8 each), XXH3-64 of the 40 bytes before. It
is written whole, under its flock.

- A process sets a batch aside before it stores, and takes from that without asking. What is used
  and set aside together never exceeds the limit, so neither does what is really allocated.
- What is taken stays set aside until its bytes are allocated (:meth:`Space.settle`), and is used
  and charged from then on. Otherwise a recount that began between a charge and its write would
  count it neither as found nor as charged meanwhile.
- Each store is charged at least what it allocates: its bytes, a 1,024th for the filesystem's own
  (extents, the map), and a fixed sum for a new object. Blocks stored again are charged again, since
  to ask the map costs more (``object.py``) than the recount that follows.
- What is unlinked or punched is given back as the inodes say, after it is free: unlinked when
  no process has it open, and closed (``graveyard.py``). The epoch tells recounts apart: what was
  freed before one that was done meanwhile is not given back, since the walk may not have met it.
- So the count is right or too high: a killed process leaves its batch set aside. The next process
  that has the cache alone counts that as used, and asks for a recount; a culler, which walks over
  the cache anyway, sets it right (:meth:`Space.recounted`), adding what was charged meanwhile.
- A count that is lost or damaged is 0 and asks for a recount; under ``cachesize`` nothing is
  stored before that.
"""

from __future__ import annotations

import struct
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from threading import Lock

import xxhash

from cachefiles.backing import Filesystem
from cachefiles.limits import Excess, Limits
from cachefiles.turn import Turn

OBJECT_BYTES = 12 * 1024
"""Charged for a new object: a block each for its attributes, its map and its share of folders."""

OWN_BYTES = 32 * 1024
"""What a cache takes without any object, as far as its size goes: ``version`` and ``space``, the
directory and those below it that each cache has, a block of 4 KiB each; not in the count."""

_RECORD = struct.Struct("<4sHHqQQQ")
_CHECK = struct.Struct("<Q")
_BYTES = 40
_STALE = 1
_LOCK_TIMEOUT = 1.0
_FULL_PAUSE = 0.25
"""Seconds for which a full cache is not asked again, unless culling made room."""


def pages(length: int) -> int:
    """``length`` bytes in whole blocks of a filesystem."""
    return -(-length // 4096) * 4096


def charge_of(length: int) -> int:
    """Bytes to be charged for storing ``length`` bytes."""
    return pages(length + length // 1024)


@dataclass(slots=True)
class Count:
    """The file's content. ``used`` may be below 0, but not by more than ``aside``; ``stale``: to be
    counted anew."""

    used: int = 0
    aside: int = 0
    charged: int = 0
    stale: bool = False
    epoch: int = 0

    def encode(self) -> bytes:
        """48 bytes."""
        body = _RECORD.pack(b"CFSP", 1, self.stale, self.used, self.aside, self.charged, self.epoch)
        return body + _CHECK.pack(xxhash.xxh3_64_intdigest(body))

    @classmethod
    def decode(cls, raw: bytes) -> Count | None:
        """None for anything that :meth:`encode` did not make."""
        if len(raw) != _BYTES + _CHECK.size or not raw.startswith(b"CFSP\1\0"):
            return None
        if _CHECK.unpack(raw[_BYTES:])[0] != xxhash.xxh3_64_intdigest(raw[:_BYTES]):
            return None
        _, _, flags, used, aside, charged, epoch = _RECORD.unpack_from(raw)
        return cls(used, aside, charged, bool(flags & _STALE), epoch)


class Space:
    """One process's view. Owns ``fd`` (the count's file); ``folder`` is borrowed.

    Safe to use from several threads. Raises ``OSError``.
    """

    def __init__(self, filesystem: Filesystem, fd: int, folder: int, limits: Limits) -> None:
        self.limits = limits
        self.culling = False
        """Whether "cull" was passed and "run" is not reached: the culler has work."""
        self.stale = False
        """Whether the count is to be set right, as far as is known."""
        self._filesystem = filesystem
        self._fd = fd
        self._folder = folder
        self._lock = Lock()
        self._batch = 0  # set aside in the file, by us
        self._left = 0  # of the batch
        self._pending = 0  # of the batch: taken, and not yet allocated as far as is known
        self._freed = 0  # in the epoch
        self._epoch: int | None = None
        self._turn = Turn(filesystem, fd)
        self._full_until = 0.0

    def begin(self, *, alone: bool, empty: bool) -> None:
        """Look at the count. ``alone``: no other process uses the cache, so what is set aside is of
        the dead. ``empty``: the cache is new."""
        with self._counted(empty=empty) as count:
            if alone and count.aside:
                count.used += count.aside
                count.aside = 0
                count.stale = True
        self._judge()

    @property
    def full(self) -> bool:
        """Whether a store would be refused, as far as is known. No I/O."""
        return time.monotonic() < self._full_until

    def take(self, wanted: int) -> bool:
        """Charge ``wanted`` bytes before they are allocated; False when there is no room. What is
        taken is to be settled or given back."""
        with self._lock:
            if self._fd < 0 or (wanted > self._left and not self._renew(wanted)):
                return False
            self._left -= wanted
            self._pending += wanted
            return True

    def settle(self, amount: int) -> None:
        """Of what :meth:`take` gave, ``amount`` bytes are allocated now, or were in part."""
        with self._lock:
            self._pending = max(0, self._pending - amount)

    def give_back(self, amount: int) -> None:
        """Of what :meth:`take` gave, ``amount`` bytes were not allocated after all."""
        with self._lock:
            amount = min(amount, self._pending)
            self._pending -= amount
            self._left += amount

    def epoch(self) -> int | None:
        """To be asked before bytes are freed, for :meth:`freed`. Waits for no lock; never raises.
        None when it is not known."""
        with suppress(OSError):
            count, _ = self._load()
            return None if count is None else count.epoch
        return None

    def freed(self, amount: int, epoch: int | None) -> None:
        """``amount`` bytes were deallocated since ``epoch`` was the epoch."""
        if not amount:
            return
        with self._lock:
            if epoch != self._epoch:  # a recount since, for which the others were no more
                self._freed, self._epoch = 0, epoch
            self._freed += amount
            self._full_until = 0.0

    def count(self) -> Count:
        """The count as it is, this process's part included."""
        with self._lock, self._counted() as count:
            self._return(count)
            return Count(count.used, count.aside, count.charged, count.stale)

    def excess(self) -> Excess:
        """What to cull now; keeps :attr:`culling`."""
        return self._judge()

    def recounted(self, found: int, charged: int) -> None:
        """A walk over the cache found ``found`` bytes; it began when ``charged`` was charged."""
        with self._lock, self._counted() as count:
            self._return(count)
            count.used = found + count.charged - charged
            count.stale = False
            count.epoch = (count.epoch + 1) % 2**64
            self._full_until = 0.0

    def close(self) -> None:
        """Give back what is set aside. Raises nothing that was not raised before."""
        try:
            if self._batch or self._freed:
                self.count()
        except OSError:
            pass  # the next process that is alone counts it as used
        finally:
            with self._lock:
                fd, self._fd = self._fd, -1
                self._batch = self._left = self._pending = 0
            self._filesystem.close(fd)

    def _judge(self) -> Excess:
        count = self.count()
        disk = self._filesystem.space(self._folder)
        used = count.used + count.aside + OWN_BYTES
        excess = self.limits.excess(used, disk, culling=self.culling)
        if not self.culling and excess:
            excess = self.limits.excess(used, disk, culling=True)
        self.culling = bool(excess)
        return excess

    def _renew(self, wanted: int) -> bool:
        with self._counted() as count:
            self._return(count)
            disk = self._filesystem.space(self._folder)
            used = count.used + count.aside + OWN_BYTES
            room = self.limits.room(used, disk)
            if count.stale and self.limits.cachesize is not None and count.used <= 0:
                room = 0  # what is there is not known
            if self.limits.excess(used + wanted, disk, culling=False):
                self.culling = True
            if wanted > room:
                self._full_until = time.monotonic() + _FULL_PAUSE
                return False
            self._left = min(max(wanted, self.limits.batch(disk)), room)
            self._batch += self._left
            count.aside += self._left
            return True

    def _return(self, count: Count) -> None:
        """Put into ``count`` what we used of our batch and what we freed. What is pending stays set
        aside, and is all that is left of the batch."""
        taken = self._batch - self._left - self._pending
        freed = self._freed if self._epoch == count.epoch else 0
        count.aside = max(0, count.aside - self._batch + self._pending)
        # Below 0 where one process freed what another has not yet said to have used: that is aside.
        count.used = max(-count.aside, count.used + taken - freed)
        count.charged += taken
        self._batch = self._pending
        self._left = self._freed = 0

    @contextmanager
    def _counted(self, *, empty: bool = False) -> Iterator[Count]:
        """The count, locked, and written back if the body changed it."""
        with self._turn.taken(_LOCK_TIMEOUT):
            known, raw = self._load()
            count = known or Count(stale=not empty)
            yield count
            self.stale = count.stale
            after = count.encode()
            if after != raw:
                self._filesystem.write_all(self._fd, after, 0)

    def _load(self) -> tuple[Count | None, bytes]:
        """The count as the file has it, if that is one, and the bytes."""
        raw = memoryview(bytearray(_BYTES + _CHECK.size))
        got = bytes(raw[: self._filesystem.read_some(self._fd, raw, 0)])
        return Count.decode(got), got
