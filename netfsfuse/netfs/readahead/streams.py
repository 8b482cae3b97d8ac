"""What one open handle reads, told apart: the entry of the policy."""

from __future__ import annotations

from netfsfuse.netfs.readahead.answer import Ahead, Pattern
from netfsfuse.netfs.readahead.backward import Backward
from netfsfuse.netfs.readahead.config import AheadConfig
from netfsfuse.netfs.readahead.growth import Growth
from netfsfuse.netfs.readahead.link import Link
from netfsfuse.netfs.readahead.run import NOTHING, Run
from netfsfuse.netfs.readahead.strided import Strided
from netfsfuse.types import CACHE_BLOCK, ByteRange

MOST_RUNS = 8
"""Positions remembered. A handle with more interleaved readers than that is rare."""

PROOF = 3
"""Reads that must follow on before a reader of less than a block at a time, or one in a handle
read at random, has anything fetched ahead: neighbours do occur by chance."""

STRAYS = 4
"""Reads that fitted nowhere, less those that did, from which on a handle counts as random."""

MOST_STRAYS = 16
"""What a handle can have against it: after so many reads in order the past is forgotten."""

FAR = 20e-3
"""Seconds of round trip from which a new stream may double its window before it has seen the first
one work: there a round costs much, and nearer it costs nothing."""


class Streams:
    """The policy's state for one handle. ``now``: seconds of the clock that the link is given."""

    __slots__ = (
        "_backward",
        "_config",
        "_current",
        "_i_size",
        "_last",
        "_least",
        "_link",
        "_number",
        "_request",
        "_runs",
        "_shares",
        "_strays",
        "_strided",
        "_unopened",
        "pattern",
    )

    def __init__(self, config: AheadConfig, link: Link) -> None:
        self._config = config
        self._link = link
        self._shares = link.shares
        self._number = id(self)
        self._least = 2 * config.rsize if config.fixed_rsize else CACHE_BLOCK
        self._runs: list[Run] = []  # least recently read first
        self._current: Run | None = None  # the run of the last read, if it was one's
        self._last: Growth | None = None  # what the last read belonged to
        self._backward: Backward | None = None
        self._strided = Strided(self._number, 0, 0)
        self._strays = 0
        self._i_size = -1
        self._request = link.request_size()  # for reads such as the last
        self._unopened = Ahead(NOTHING, self._request, 0)
        self.pattern = Pattern.FIRST

    def on_read(self, start: int, size: int, i_size: int, now: float) -> Ahead:
        """A read of ``[start, start + size)``, ``size > 0``, not beyond ``i_size``."""
        run = self._current
        shares = self._shares
        reads = shares.reads = shares.reads + 1
        if (
            run is not None
            and start == run.front
            and start + size < run.trigger
            and now < shares.check_at
            and reads < shares.check_reads
            and i_size == self._i_size
        ):
            run.front = start + size
            run.progress += size
            run.read_at = now
            run.read_count = reads
            strided = self._strided
            strided.start = start
            strided.equal = 0
            self.pattern = Pattern.SEQUENTIAL
            return run.quiet
        return self._note(start, size, i_size, now)

    def waited(self, now: float) -> Ahead:
        """The read noted last has to wait, for data that another reader's request, or none,
        brings. What should be on its way besides, because of that."""
        stream = self._last
        if stream is None or not stream.is_open:
            return self._unopened
        link = self._link
        link.waited(now)
        request = self._request
        shares = self._shares
        if not stream.waited(request, known=shares.known, most=self._config.rasize):
            return Ahead(NOTHING, request, 0)
        shares.settle()
        return self._plan(stream, request, NOTHING)

    def refused(self, wanted: ByteRange) -> None:
        """This range of the last answer, and those after it, could not be asked for (no buffer):
        they will be stated again."""
        for stream in (self._last, *reversed(self._runs), self._backward):
            if stream is not None and stream.has_asked(wanted):
                stream.refused(wanted)
                return

    def close(self) -> None:
        """The handle is closed: its share goes to others. Idempotent."""
        for run in self._runs:
            self._shares.leave(run)
        if self._backward is not None:
            self._shares.leave(self._backward)
        self._shares.leave(self._strided)
        self._runs.clear()
        self._current = self._last = self._backward = None

    def _note(self, start: int, size: int, i_size: int, now: float) -> Ahead:
        shares = self._shares
        if i_size != self._i_size:
            self._i_size = i_size
            for run in self._runs:
                run.trigger = 0
        if now >= shares.check_at or shares.reads >= shares.check_reads:
            shares.expire(now)
        request = self._request = self._link.request_size(size)
        first = self._strided.size == 0
        if self._strided.note(start, size) and not any(
            run.expects(start, size) for run in self._runs
        ):
            return self._note_strided(start, size, request, now)
        forgotten = self._leave(self._strided) if self._strided.is_open else NOTHING
        found = self._find(start, size)
        if found is None or not found.is_open:
            backward = self._backward
            if backward is not None and backward.takes(start, size):
                backward.follow(start, size)
                if found is None or backward.is_proven:
                    return self._note_backward(backward, size, request, now, forgotten)
            else:
                if backward is not None and backward.is_open:
                    forgotten += self._leave(backward)
                self._backward = Backward(self._number, start)
        if found is None:
            return self._note_stray(start, size, request, first, forgotten)
        self.pattern = Pattern.SEQUENTIAL
        return self._note_run(found, start, size, request, now, forgotten)

    def _find(self, start: int, size: int) -> Run | None:
        """The run that a read belongs to, which becomes the most recent: one that goes on exactly
        there before one that is near, the last one before others."""
        current = self._current
        if current is not None and current.front == start:
            return current
        found = None
        for run in reversed(self._runs):
            if run.front == start:
                found = run
                break
            if found is None and run.takes(start, size):
                found = run
        if found is None or found is current:
            return found
        self._runs.remove(found)
        self._runs.append(found)
        found.returned += 1
        return found

    def _note_run(
        self,
        run: Run,
        start: int,
        size: int,
        request: int,
        now: float,
        forgotten: tuple[ByteRange, ...],
    ) -> Ahead:
        run.follow(start, size)
        self._current = run
        self._strays = max(0, self._strays - 1)
        if not run.is_open:
            small = size < CACHE_BLOCK or self._strays >= STRAYS
            if not run.is_proven(PROOF if small else 1):
                self._last = None
                return self._answer(request, forgotten)
            run.open(size, least=self._least, is_far=not 0 < self._link.round_trip <= FAR)
        elif not run.is_dense:
            forgotten += self._leave(run)
            self._runs.remove(run)
            self._current = self._last = None
            return self._answer(request, forgotten)
        run.align(start, size, request)
        self._touch(run, now)
        return self._plan(run, request, forgotten)

    def _note_stray(
        self,
        start: int,
        size: int,
        request: int,
        first: bool,
        forgotten: tuple[ByteRange, ...],
    ) -> Ahead:
        """A read that belongs to nothing begins a run, and ends the last one, unless the handle
        has been seen to come back to that."""
        self.pattern = Pattern.FIRST if first else Pattern.RANDOM
        current = self._current
        if current is not None and current.returned == 0:
            forgotten += self._leave(current)
        self._current = self._last = None
        if not first:
            self._strays = min(self._strays + 1, MOST_STRAYS)
        forgotten += self._begin_run(start, size, request)
        self._current = self._runs[-1]
        return self._answer(request, forgotten)

    def _begin_run(self, start: int, size: int, request: int) -> tuple[ByteRange, ...]:
        """Remember where this read ended, as the latest run; what that makes us forget."""
        forgotten = NOTHING
        runs = self._runs
        if len(runs) >= MOST_RUNS:
            oldest = next((run for run in runs if not run.is_open), runs[0])
            forgotten = self._leave(oldest)
            runs.remove(oldest)
        runs.append(Run(self._number, start, size, request))
        return forgotten

    def _note_backward(
        self,
        backward: Backward,
        size: int,
        request: int,
        now: float,
        forgotten: tuple[ByteRange, ...],
    ) -> Ahead:
        self.pattern = Pattern.BACKWARD
        self._current = self._last = None
        if not backward.is_open:
            if not backward.is_proven:
                return self._answer(request, forgotten)
            backward.open(size, least=self._least, is_far=False)
        self._touch(backward, now)
        return self._plan(backward, request, forgotten)

    def _note_strided(self, start: int, size: int, request: int, now: float) -> Ahead:
        """The read is remembered as a run's first, too: readers that take turns at equal distances
        look like a stride until they come round."""
        strided = self._strided
        self.pattern = Pattern.STRIDED
        forgotten = self._begin_run(start, size, request)
        if self._current is not None:
            forgotten += self._leave(self._current)
            self._current = None
        if not strided.is_open:
            strided.begin()
        self._touch(strided, now)
        return self._plan(strided, request, forgotten)

    def _touch(self, stream: Growth, now: float) -> None:
        """An open stream was read: it takes part in the shares."""
        shares = self._shares
        stream.read_at = now
        stream.read_count = shares.reads
        self._last = stream
        if not stream.active:
            if stream.was_active:
                stream.reopen()
            stream.was_active = True
            shares.join(stream)
            shares.settle()
        elif stream.went_on():
            shares.settle()

    def _plan(self, stream: Growth, request: int, forgotten: tuple[ByteRange, ...]) -> Ahead:
        wanted = stream.plan(request, self._i_size)
        if isinstance(stream, Run):
            if not wanted and not forgotten:
                return stream.quiet
            return Ahead(wanted, request, stream.quiet.phase, forgotten)
        return Ahead(wanted, request, 0, forgotten)

    def _answer(self, request: int, forgotten: tuple[ByteRange, ...]) -> Ahead:
        """Nothing ahead."""
        if not forgotten and self._unopened.request_size == request:
            return self._unopened
        self._unopened = Ahead(NOTHING, request, 0)
        return Ahead(NOTHING, request, 0, forgotten) if forgotten else self._unopened

    def _leave(self, stream: Growth) -> tuple[ByteRange, ...]:
        """What was asked for ahead of a stream that ended."""
        self._shares.leave(stream)
        return stream.forget()
