"""An object whose file is being changed: blocks are discarded and replaced, the size moves.

Made by :meth:`cachefiles.volume.Volume.begin_changes`, for one user, who says what becomes of the
file on the server and in which order: a block is discarded before the server's is another, and
stored again when the server has it. What is on disk is *unfinished* meanwhile: the header says so,
and any other opener buries what it finds.

What a crash leaves. Nothing: an unfinished object is never looked at. So nothing is ordered or
synced before :meth:`ChangingObject.finish`, but the mark itself before the first change.

What ``finish`` must see to is a loss of power after it. Entry and bytes of a block may then be of
different times, each of them any that there has been since it was last synced. The seed proves that
both are of this object, block and generation, so:

- Where a block was stored with one content alone since the generation began, entry and bytes that
  agree are that content. That is so for all blocks of a file that is written from its beginning to
  its end, small or large, and for those added to one: **nothing is synced**.
- Where blocks were struck or stored again (``_replaced``), an older entry may agree with older
  bytes. So data and map are synced before the record is set, and from then on no entry of older
  content can be on the disk.

The record itself is not synced: where it is lost the object is unfinished, a refetch.

Space. A block that is stored again is charged only if it had no entry before; what is discarded, or
cut off, is punched out at once and given back as the inode says. So replacing does not move the
count of ``space.py``, whatever a culler does meanwhile, which strikes what it punches.

Syscalls: replacing and discarding read the entries first (1), behind the last block ever stored
nothing is asked; discarding what is stored 6 more; growing none, but for a last block that was cut
at the old size.
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress

from cachefiles.blocks import Blocks
from cachefiles.contentmap import BLOCK, block_count
from cachefiles.errors import translated
from cachefiles.extents import Extent
from cachefiles.generation import Generation
from cachefiles.object import Object, ObjectOwner
from cachefiles.recency import SEGMENT
from cachefiles.space import Space, charge_of, pages


class ChangingObject(Object):
    """As an :class:`Object`; of calls on overlapping ranges, and of :meth:`resize` and
    :meth:`finish`, the caller sees that one comes after the other.

    After :meth:`finish` it is an object like others.
    """

    changing = True

    def __init__(
        self,
        path: str,
        generation: Generation,
        blocks: Blocks | None,
        *,
        space: Space,
        owner: ObjectOwner,
    ) -> None:
        super().__init__(path, generation, blocks, space=space, owner=owner)
        self._size = generation.record.size
        self._end = 0 if blocks is None else block_count(self._size)
        """The first block of those behind which none was ever stored."""
        self._has_stamps = blocks is not None and self._size > SEGMENT
        self._replaced = False
        self._paid = 0
        """Blocks that were discarded: what the filesystem needs to find them is charged already."""

    @property
    def size(self) -> int:
        """Bytes of the file now."""
        return self._size

    def occupancy(self, start: int, end: int) -> list[Extent]:
        """As of any object; nothing of what is not made of blocks of the file as it is now: a
        reader asks by the size that it knows."""
        with suppress(ValueError):
            return super().occupancy(start, end)
        return []

    def read(self, start: int, target: memoryview) -> bool:
        """As of any object; False for what is not made of blocks of the file as it is now."""
        with suppress(ValueError):
            return super().read(start, target)
        return False

    def read_now(self, start: int, target: memoryview) -> bool:
        """As :meth:`read`."""
        with suppress(ValueError):
            return super().read_now(start, target)
        return False

    def write(self, start: int, data: memoryview) -> bool:
        """As of any object, also in place of what is stored; False as :meth:`read` says."""
        with suppress(ValueError):
            return super().write(start, data)
        return False

    def discard(self, start: int, end: int) -> bool:
        """The blocks that ``[start, end)`` touches are not the file's any more: they are struck,
        and their space is given back. False when the object is over. Raises ``CacheError``; then
        they may be stored still, and the object is to be invalidated."""
        with self._using() as blocks:
            if blocks is not None:
                with translated("discarding cached data"):
                    self._discard(blocks, start // BLOCK, -(-end // BLOCK))
            return not self._retired and not self._shut

    def discards_at_once(self, start: int) -> bool:
        """Whether :meth:`discard` from ``start`` on needs no disk."""
        return self._blocks is None or start // BLOCK >= self._end

    def resize(self, size: int) -> bool:
        """The file has ``size`` bytes now. What lies behind is gone, and so is a last block that
        ended at the old size. False when the object is over. Raises as :meth:`discard`."""
        with self._using() as blocks:
            if blocks is not None and size != self._size:
                with translated("resizing a cached file"):
                    self._fit(blocks, size)
            with self._lock:
                self._size = size
                if self._blocks is not None:  # made just now, perhaps
                    self._blocks.size = size
            return not self._retired and not self._shut

    def resizes_at_once(self, size: int) -> bool:
        """Whether :meth:`resize` needs no disk."""
        if self._blocks is None or size == self._size:
            return True
        return not self._has_stamps and min(size, self._size) // BLOCK >= self._end

    def finish(self, key: bytes, coherency: bytes) -> bool:
        """The server's file is what is stored and was not discarded, in the version that
        ``coherency`` stands for, and of the size that it was told last. From now on it is found
        under ``key``, which may be another than before, and used by all.

        False where its generation is over, as it is where another opener found it meanwhile: then
        nothing of it is found. So it is when it raises ``CacheError``; ``ValueError``: the record
        would not fit, and nothing has changed.
        """
        return self._owner.finish(self, key, coherency)

    def attach(self, blocks: Blocks, generation: Generation) -> None:
        """For the volume: as of any object."""
        super().attach(blocks, generation)
        with self._lock:
            blocks.size = self._size

    def sync_mark(self) -> None:
        """For the volume: it is unfinished, also after a loss of power. Raises ``OSError``."""
        with self._using() as blocks:
            if blocks is not None:
                blocks.data.sync_header()

    def settle(self) -> None:
        """For the volume, before the record is set: no older entry can be on the disk. Raises
        ``OSError``."""
        with self._using() as blocks:
            if blocks is not None and self._replaced:
                self._replaced = False
                blocks.sync()

    @property
    def settled(self) -> bool:
        """For the volume: whether nothing was replaced since :meth:`settle`."""
        return not self._replaced

    def set_header(self, setting: Callable[[int], None]) -> None:
        """For the volume: call ``setting`` with the backing file's descriptor, if there is one."""
        with self._using() as blocks:
            if blocks is not None:
                setting(blocks.data.fd)

    def finished(self, generation: Generation) -> None:
        """For the volume, under its locks, its header set: it is an object like others."""
        with self._lock:
            self.generation, self.changing = generation, False
            if self._blocks is not None:
                self._blocks = self._blocks.renewed(self._size)
                self._changed = True

    def _charge(self, blocks: Blocks, first: int, data: memoryview) -> int:
        if not self.changing:
            return super()._charge(blocks, first, data)
        count = block_count(len(data))
        with self._lock:
            known = min(count, self._end - first)
            self._end = max(self._end, first + count)
        if known <= 0:
            return super()._charge(blocks, first, data)
        stored = blocks.unmark(first, known)  # verify=never would believe it, the bytes half new
        self._replaced = self._replaced or stored > 0
        with self._lock:
            paid = min(count - stored, self._paid)
            self._paid -= paid
        growth = max(0, len(data) - stored * BLOCK)
        return pages(growth) if paid == count - stored else charge_of(growth)

    def _discard(self, blocks: Blocks, first: int, end: int) -> None:
        count = min(end, self._end) - first
        if count <= 0:
            return
        stored = blocks.unmark(first, count)
        if not stored:
            return
        self._replaced = True
        with self._lock:
            self._paid += stored
        epoch = self._space.epoch()
        self._space.freed(blocks.data.punch(first * BLOCK, count * BLOCK), epoch)

    def _fit(self, blocks: Blocks, size: int) -> None:
        if self._has_stamps:
            blocks.forget_stamps()
            self._has_stamps = False
        keep = min(size, self._size) // BLOCK
        if keep >= self._end:
            return
        if size < self._size:
            self._replaced = True
            epoch = self._space.epoch()
            self._space.freed(blocks.cut(keep), epoch)
        else:
            self._discard(blocks, keep, keep + 1)
        self._end = keep
