"""PURE: how far ahead of a reader the data should be on its way. One window per file handle.

The window opens with the second read that follows on, doubles while the reader goes on, and closes
on a seek. What "follows on" means is generous, because the kernel's own readahead has several
reads of one handle in flight and delivers them out of order: a read that starts up to a window (or
its own size) before or behind the front, the highest byte read so far, belongs to the run.

The end of the window is rounded up to the rsize grid. So requests are whole rsize pieces of the
file, and a new one goes out only when the window crosses a grid line, not with every small read.

:meth:`ReadaheadWindow.on_read` states a wish; the caller issues what of it is not there already.
A wish that could not be granted (no buffer) is simply stated again with the next read.
"""

from __future__ import annotations

from dataclasses import dataclass

from netfsfuse.types import CACHE_BLOCK, ByteRange

GROW_STEP = 128 * 1024
"""Bytes a reader must have advanced before the window doubles again: the kernel's default request.
Each such request doubles it, so 8 MiB are reached within the first MiB; a reader of 4 KiB pieces
must show as much before megabytes are fetched for it."""


@dataclass(frozen=True, slots=True)
class ReadaheadConfig:
    """``rsize``: the grid and size of requests. ``rasize``: the largest window. Bytes."""

    rsize: int
    rasize: int


class ReadaheadWindow:
    """The policy's state for one handle. ``sequential``: whether the last read followed on."""

    __slots__ = ("_advanced", "_config", "_front", "_window", "sequential")

    def __init__(self, config: ReadaheadConfig) -> None:
        self._config = config
        self._front = -1  # highest end of a read in this run; -1: nothing read yet
        self._window = 0
        self._advanced = 0  # since the window grew last
        self.sequential = False

    def on_read(self, start: int, size: int, i_size: int) -> ByteRange:
        """The range beyond the demand that should be on its way now; empty for none.

        ``size > 0``. The answer starts at the front and ends on the rsize grid or at ``i_size``.
        """
        end = start + size
        reach = max(self._window, size)
        self.sequential = self._front >= 0 and abs(start - self._front) <= reach
        if not self.sequential:
            self._front = end
            self._window = self._advanced = 0
            return ByteRange(end, end)
        if end > self._front:
            self._advanced += end - self._front
            self._front = end
            self._grow(size)
        if self._window == 0:
            return ByteRange(self._front, self._front)
        rsize = self._config.rsize
        target = min(-(-(self._front + self._window) // rsize) * rsize, i_size)
        return ByteRange(self._front, max(self._front, target))

    def _grow(self, size: int) -> None:
        config = self._config
        if self._window == 0:
            wish = min(max(4 * size, CACHE_BLOCK), 2 * config.rsize)
        elif self._advanced >= GROW_STEP:
            wish = 2 * self._window
        else:
            return
        self._window = min(wish, config.rasize)
        self._advanced = 0
