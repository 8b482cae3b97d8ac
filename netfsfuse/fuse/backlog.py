"""The data of writes that wait in their handlers, and the bound on it.

A write brings its data along, up to 1 MiB: one copy in the worker that has read it from /dev/fuse
and one in the ``bytes`` that pyfuse3 makes of it. Both stay until its handler answers, and a
handler waits as long as the mount holds as much dirty data as it may. 200 writers of 1 MiB took the
process from 29 to 285 MiB so (measured), outside of every buffer that is counted.

The kernel hands requests out in the order in which they came and keeps what was not read, where it
costs this process nothing. So while the waiting handlers hold ``FULL`` bytes no request is read
until one of them has answered. What stands behind in the kernel waits with the writes, reads and
look-ups of other files too. That is bounded: one request more is let in every ``PAUSE`` seconds,
and all are once no write was answered for ``STANDSTILL`` seconds. A program has one write under way
at a time, so the queue comes to its end.

The pause is made by the one worker whose turn it is to read (``workers``).
"""

from __future__ import annotations

from collections.abc import Callable, Coroutine
from functools import update_wrapper
from typing import Any, Protocol, TypeVar

import trio

FULL = 24 * 1024 * 1024
"""Bytes. As many again are in the workers, and more between them in the heap: a daemon without any
other buffers came to 117 MiB with 200 writers of 1 MiB (172 with 32 MiB here, 201 with 48)."""

PAUSE = 0.1
"""Seconds after which one request more is read."""

STANDSTILL = 5.0
"""Seconds without an answer after which none is held back any more."""


class Backlog:
    """Counts what waits, in ``held``: one for a session. ``full``: the bytes from which on no
    request is read until there is :meth:`room`."""

    def __init__(self, full: int = FULL) -> None:
        self._full = full
        self.held = 0
        self._answered: float | None = None  # when, or found so at first; None: since the last look
        self._next = 0.0  # when one more may be read
        self._news = trio.Event()

    @property
    def is_full(self) -> bool:
        """Whether :meth:`room` is to be awaited before a request is read."""
        return self.held >= self._full

    def add(self, size: int) -> None:
        """A handler begins that holds ``size`` bytes."""
        before = self.held
        self.held += size
        if before < self._full <= self.held:
            self._next = trio.current_time() + PAUSE

    def remove(self, size: int) -> None:
        """It has ended."""
        self.held -= size
        self._answered = None
        self._news.set()

    async def room(self) -> None:
        """Return when one request may be read, and not later than the bounds say."""
        while self.is_full:
            now = trio.current_time()
            if self._answered is None:
                self._answered = now
            given_up = self._answered + STANDSTILL
            if now >= given_up:
                return
            if now >= self._next:
                self._next = now + PAUSE
                return
            if self._news.is_set():
                self._news = trio.Event()
            with trio.move_on_at(min(self._next, given_up)):
                await self._news.wait()


class HasBacklog(Protocol):
    """What :func:`counted` needs of the object whose handler it stands round."""

    backlog: Backlog


S = TypeVar("S", bound=HasBacklog)
F = TypeVar("F")
R = TypeVar("R")

Write = Callable[[S, F, int, bytes], Coroutine[Any, Any, R]]


def counted(handler: Write[S, F, R]) -> Write[S, F, R]:
    """For ``write``: its data counts in the ``backlog`` until it has answered."""

    async def write(self: S, fh: F, off: int, buf: bytes, /) -> R:
        size = len(buf)
        self.backlog.add(size)
        try:
            return await handler(self, fh, off, buf)
        finally:
            self.backlog.remove(size)

    update_wrapper(write, handler)
    return write
