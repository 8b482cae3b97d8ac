"""Waiting, while a mount is still there, until the server has what was written to it.

A mount that is taken away sends what is left as well, but then nobody can change his mind, nor ask
how much that is. So it is asked for first: its statistics say how many bytes are dirty.

Programs may go on writing meanwhile, and what they write is not waited for: a mount that they use
is busy, and is told so. What was dirty at first has gone when as many bytes have.
"""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass

from netfsfuse.cli.probe import probe
from netfsfuse.cli.say import say
from netfsfuse.cli.sizes import format_size
from netfsfuse.errors import MountError
from netfsfuse.stats import STATS_XATTR

_STEP = 0.2  # seconds between two questions
_ASK_TIMEOUT = 5.0  # seconds for an answer
GIVE_UP_SECONDS = 30.0  # without a byte less


@dataclass(frozen=True, slots=True)
class Written:
    """What a mount says of writing: bytes that programs have written, and how many of them the
    server has not got yet."""

    bytes: int
    dirty: int

    def left(self, now: Written) -> int:
        """How many of the bytes that were dirty then are so ``now``."""
        since = now.bytes - self.bytes
        return max(0, now.dirty - since) if now.dirty else 0


def written(stats: str | None) -> Written:
    """From the text of a mount's statistics; nothing is dirty where they do not say."""
    try:
        group = json.loads(stats or "")["write"]
        return Written(int(group["bytes"]), int(group["dirty_bytes"]))
    except (ValueError, KeyError, TypeError):
        return Written(0, 0)


def wait_sent(path: str, stats: str | None) -> int:
    """Wait until the server has what was dirty when the mount on ``path`` answered ``stats``.

    Returns the bytes that are dirty now. Raises :class:`MountError` when none of them went for
    ``GIVE_UP_SECONDS``, and KeyboardInterrupt at Ctrl-C: the mount is as it was.
    """
    first = written(stats)
    if not first.dirty:
        return 0
    if not sys.stderr.isatty():
        what = f"{path}: {format_size(first.dirty)} are not on the server yet"
        say(f"netfsfuse: {what}; interrupted, it stays mounted", err=True)
        return _watch(path, first, lambda _: None)
    from netfsfuse.cli.progress import Bar

    bar = Bar("writing")
    bar.found(first.dirty)
    with bar.shown():
        return _watch(path, first, bar.done)


def _watch(path: str, first: Written, sent: Callable[[int], None]) -> int:
    left = first.dirty
    moved = time.monotonic()
    while True:
        answer = probe(path, STATS_XATTR, timeout=_ASK_TIMEOUT)
        if answer is not None:
            now = written(answer.value)  # dead by now: nothing is left to wait for
            still = min(left, first.left(now))
            if still < left:
                sent(left - still)
                left, moved = still, time.monotonic()
            if not left:
                return now.dirty
        if time.monotonic() - moved > GIVE_UP_SECONDS:
            raise MountError(
                f"{path}: {format_size(left)} are not on the server, and nothing has gone there "
                f"for {GIVE_UP_SECONDS:g} seconds; it stays mounted (--force gives them up)"
            )
        time.sleep(_STEP)
