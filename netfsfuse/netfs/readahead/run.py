"""A run: reads of one handle that follow one another upwards, and what is asked for ahead of them.

"Follow" is generous, because the kernel's own readahead has several reads of one handle in flight,
up to 4 MiB, and delivers them out of order. A run is known by its front, the highest byte read.
"""

from __future__ import annotations

from netfsfuse.netfs.readahead.answer import Ahead, block_ceil, block_floor
from netfsfuse.netfs.readahead.growth import Growth
from netfsfuse.types import CACHE_BLOCK, ByteRange

KERNEL_READ = 128 * 1024
"""Bytes. The kernel asks for as much at once only when its own readahead is at work, which has
seen a sequential reader already. Smaller reads must prove it to us."""

KERNEL_AHEAD = 4 * 1024 * 1024
"""The largest read_ahead_kb that we set: its reads come out of order over that distance."""

REACH_READS = 8
"""Before a window is open, a large read may be so many of its sizes from the front."""

NEVER = 1 << 63

NOTHING: tuple[ByteRange, ...] = ()


def request_within(window: int, size: int) -> int:
    """``size`` halved until two such requests fit into the window, but at least a block: a window
    of one request moves only when that has been read. A size that is no power of two times the
    block was fixed by the user, and stays."""
    if size & (size - 1):
        return size
    while size > CACHE_BLOCK and 2 * size > window:
        size //= 2
    return size


class Run(Growth):
    """Reads upwards. ``front``: where the next one is expected. ``trigger``: from this front on
    there is something new to ask for."""

    __slots__ = ("_skipped", "asked", "follows", "front", "phase", "quiet", "returned", "trigger")

    def __init__(self, handle: int, start: int, size: int, request: int) -> None:
        super().__init__(handle)
        self.front = start + size
        self.asked = 0  # everything from the front up to here has been asked for
        self.follows = 0  # reads that took the run on
        self.phase = 0
        self.trigger = 0
        self.returned = 0  # how often the handle came back to this run from another
        self.quiet = Ahead(NOTHING, request, 0)
        self._skipped = 0  # bytes below the front that were passed over

    def takes(self, start: int, size: int) -> bool:
        """Whether a read belongs to this run."""
        if self.is_open:
            reach = max(self.wish, size)
            if size >= KERNEL_READ:
                reach = max(reach, KERNEL_AHEAD)
        elif size >= KERNEL_READ:
            reach = min(REACH_READS * size, KERNEL_AHEAD)
        else:
            reach = size
        return abs(start - self.front) <= reach

    def expects(self, start: int, size: int) -> bool:
        """Whether a read is of this run for certain, whatever pattern it seems to make with the
        reads before it: the next one, or one of the kernel's readahead that came out of order."""
        if start == self.front:
            return True
        passed = self._skipped + max(0, start - self.front)
        return (
            self.is_open
            and size >= KERNEL_READ
            and passed <= KERNEL_AHEAD
            and self.front - KERNEL_AHEAD <= start < self.asked
            and (start > self.front or self._skipped > 0)
        )

    def follow(self, start: int, size: int) -> None:
        """Take the run on by a read that it :meth:`takes`."""
        end = start + size
        front = self.front
        if end <= front:
            self._skipped = max(0, self._skipped - size)
            return
        self._skipped = max(0, self._skipped + start - front)
        self.progress += end - front
        self.front = end
        self.follows += 1

    def is_proven(self, follows: int) -> bool:
        """Whether so many reads took it on, and with no more than a third left out."""
        return self.follows >= follows and 2 * self._skipped <= self.progress

    def grant(self, window: int) -> None:
        """Shares says what the window is from now on; the next read plans with it."""
        if window != self.window:
            self.window = window
            self.trigger = 0

    @property
    def is_dense(self) -> bool:
        """False when most of what the run passed over was not read: it is none."""
        return 2 * self._skipped <= self.progress + KERNEL_AHEAD

    def align(self, start: int, size: int, request: int) -> None:
        """Choose the phase so that reads such as this one fall into whole requests."""
        whole = min(size, request)
        if whole < CACHE_BLOCK or whole % CACHE_BLOCK or max(size, request) % whole:
            return
        if (start - self.phase) % whole:
            self.phase = block_floor((start + size) % request)

    def plan(self, request: int, i_size: int) -> tuple[ByteRange, ...]:
        """What has to be asked for now; sets ``asked`` and ``trigger``."""
        window = self.window
        grain = request_within(window, request)
        phase = self.phase
        reach = self.front + window
        target = i_size if reach >= i_size else phase + (reach - phase) // grain * grain
        begin = block_ceil(max(self.asked, self.front))
        wanted = NOTHING
        if self.is_open and target > begin and window:
            wanted = (ByteRange(begin, target),)
            self.asked = begin = target
        if begin >= i_size:
            self.trigger = NEVER
        else:
            line = phase + ((begin - phase) // grain + 1) * grain
            self.trigger = min(line, i_size) - window if window else line
        self.quiet = Ahead(NOTHING, request, phase % request)
        return wanted

    def has_asked(self, wanted: ByteRange) -> bool:
        """Whether the range may have been planned by this run."""
        return wanted.end <= self.asked <= wanted.end + max(self.window, KERNEL_AHEAD)

    def refused(self, wanted: ByteRange) -> None:
        """Ask again with the next read."""
        self.asked = min(self.asked, wanted.start)
        self.trigger = 0

    def forget(self) -> tuple[ByteRange, ...]:
        """The run is left: what was asked for ahead of it."""
        left = ByteRange(block_ceil(self.front), self.asked)
        self.asked = self.trigger = 0
        return (left,) if left else NOTHING
