"""How one stream's window grows: by waiting.

A read that finds its data changes nothing. One that has to wait doubles the window, at most once
for each window's worth of data, because what was asked for under the old window says nothing about
the new one. When two whole windows have passed without a wait the doubling is over; from then on a
wait adds one request.

Where the link is known already, a waiting stream gets all it may have at once, on trial: for every
two windows that pass without a wait half is given back, until it waits.
"""

from __future__ import annotations

from netfsfuse.netfs.readahead.answer import block_floor
from netfsfuse.types import CACHE_BLOCK, ByteRange

OPENING = 2 * 1024 * 1024
"""Bytes with which a reader of 128 KiB pieces and more begins. Two requests of 1 MiB, or eight of
256 KiB: the loopback is nearly full, and 50 ms at 1 Gbit/s are reached by two doublings."""

OPENING_READS = 16
"""A reader of smaller pieces begins with so many of them: it asked for little, and may stop."""


class Growth:
    """The window of one stream, and what it is decided by. Progress and windows in bytes."""

    __slots__ = (
        "_calm_since",
        "_grown_at",
        "_on_trial",
        "_slow",
        "_waits",
        "active",
        "handle",
        "is_open",
        "progress",
        "read_at",
        "read_count",
        "was_active",
        "window",
        "wish",
    )

    def __init__(self, handle: int) -> None:
        self.handle = handle  # streams of one handle have one number
        self.active = False  # in Shares
        self.was_active = False  # has been there before
        self.is_open = False
        self.wish = 0
        self.window = 0  # granted, at most the wish
        self.progress = 0
        self.read_at = 0.0
        self.read_count = 0
        self._calm_since = 0  # progress at the last wait
        self._grown_at = 0  # progress from which on a wait says something about this window
        self._slow = False  # the doubling is over
        self._on_trial = False
        self._waits = 0

    def grant(self, window: int) -> None:
        """Shares says what the window is from now on."""
        self.window = window

    def plan(self, request: int, i_size: int) -> tuple[ByteRange, ...]:
        """What has to be asked for now, nearest first, in requests of ``request`` bytes."""
        raise NotImplementedError

    def has_asked(self, wanted: ByteRange) -> bool:
        """Whether this range, planned by some stream of the handle, was planned by this one."""
        raise NotImplementedError

    def refused(self, wanted: ByteRange) -> None:
        """This range and those planned after it could not be asked for."""
        raise NotImplementedError

    def forget(self) -> tuple[ByteRange, ...]:
        """The stream is left: what was asked for ahead of it."""
        raise NotImplementedError

    def open(self, read_size: int, *, least: int, is_far: bool) -> None:
        """It is proven that the stream goes on. It begins with ``least`` bytes or more; with twice
        as many if this very read waits and the server ``is_far``."""
        self.is_open = True
        self.was_active = False
        self.wish = max(least, min(block_floor(OPENING_READS * read_size), OPENING))
        self._calm_since = self.progress
        self._grown_at = self.progress if is_far else self.progress + self.wish
        self._waits = 0
        self._slow = self._on_trial = False

    def reopen(self) -> None:
        """It was given up and comes back: half of what it had."""
        self.wish = max(CACHE_BLOCK, block_floor(self.wish // 2))
        self._calm_since = self._grown_at = self.progress

    def went_on(self) -> bool:
        """After progress: True when the wish has changed."""
        passed = self.progress - self._calm_since
        window = max(self.window, CACHE_BLOCK)
        if passed < window:
            return False
        if self.wish < OPENING and not self._slow:
            self.wish = min(2 * self.wish, OPENING)
            self._calm_since = self.progress
            return True
        if self._on_trial and passed >= 2 * window and window > OPENING:
            self.wish = max(block_floor(window // 2), OPENING)
            self._calm_since = self.progress
            return True
        if not self._on_trial and passed >= 2 * window:
            self._slow = True
        return False

    def waited(self, request: int, *, known: bool, most: int) -> bool:
        """The last read had to wait: True when the wish has changed. ``most``: what one stream may
        have at all."""
        if not self.is_open:
            return False
        self._waits += 1
        self._calm_since = self.progress
        if known and self._waits == 2 and not self._slow:
            self._on_trial = True
            self._grown_at = self.progress + most
            self.wish = most
            return True
        if self.progress < self._grown_at:
            return False
        wish = self.window + request if self._slow else 2 * self.window
        wish = min(max(wish, CACHE_BLOCK), most)
        self._on_trial = False
        self._grown_at = self.progress + self.window
        if wish <= self.wish:
            return False
        self.wish = wish
        return True
