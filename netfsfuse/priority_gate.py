"""A queue for something scarce: ranks, order of arrival within each, nothing lost on cancellation.

What is scarce (credits, room on a link, memory) is the user's: ``grant`` takes some of it if there
is enough. The gate knows whose turn it is, and holds to these rules:

* The next in turn is the first of the most important rank (0) in which a caller waits. Nothing
  overtakes it, however little it wants, or a large request would wait for ever.
* A rank may have a limit (``overtaken``): once as many grants as that went past its first place, it
  is that one's turn, although more important ones wait.
* Whatever is freed must be followed by :meth:`PriorityGate.serve`. Then the next in turn never
  waits for what is there.
* A caller that is cancelled leaves its place to those behind it, and if it had been granted what it
  waited for, that is given back.

All on one trio loop. Imports nothing of this package.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Mapping
from types import TracebackType
from typing import Generic, TypeVar

import trio

Grant = TypeVar("Grant")


class Place(Generic[Grant]):
    """A caller's place in the queue of a gate: a context manager, left before it is granted if the
    caller gives up (cancellation, or any other exception), and then not served any more.

    ``grant``: what ``grant`` of the gate returned, None until then; ``granted`` fires when it is
    set. Left by an exception afterwards: it is given back.
    """

    __slots__ = ("_gate", "amount", "grant", "granted", "overtaken", "rank")

    def __init__(self, gate: PriorityGate[Grant], amount: int, rank: int) -> None:
        self.amount = amount
        self.rank = rank
        self.overtaken = 0
        """Grants that went past it while it was the first of its rank."""
        self.grant: Grant | None = None
        self._gate = gate
        self.granted = trio.Event()

    def promote(self, rank: int = 0) -> None:
        """Go behind those of ``rank``, which must be more important; nothing if that is not so, or
        if it was granted. May serve the queue."""
        if self.grant is None and rank < self.rank:
            self._gate._promote(self, rank)

    def __enter__(self) -> Place[Grant]:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        if self.grant is None or kind is not None:
            self._gate._leave(self)


class PriorityGate(Generic[Grant]):
    """The queue for one scarce thing.

    ``grant(amount, rank)`` takes ``amount`` for a caller of ``rank`` and returns what the caller
    needs to know, or None, and has taken nothing, if there is not enough. It may call ``serve`` or
    ``dismiss``, but must not raise. ``give_back(amount, grant)`` undoes it, serving the queue if
    that frees something. ``overtaken``: rank -> how many grants may go past its first place.
    """

    def __init__(
        self,
        grant: Callable[[int, int], Grant | None],
        give_back: Callable[[int, Grant], None],
        *,
        ranks: int = 1,
        overtaken: Mapping[int, int] | None = None,
    ) -> None:
        self.waiting = 0
        """Places in the queue."""
        self._grant = grant
        self._give_back = give_back
        self._queues: list[deque[Place[Grant]]] = [deque() for _ in range(ranks)]
        self._limits = [(self._queues[rank], most) for rank, most in (overtaken or {}).items()]
        self._serving = False

    def take_nowait(self, amount: int, rank: int = 0) -> Grant | None:
        """What ``grant`` says, if no caller waits whose turn comes first; else None.

        A caller of a limited rank comes first for all more important ones, whose grants are counted
        in the queue.
        """
        if self.waiting and self._is_before(rank):
            return None
        return self._grant(amount, rank)

    def queue(self, amount: int, rank: int = 0) -> Place[Grant]:
        """A place behind all of ``rank``. For a caller that :meth:`take_nowait` has just refused;
        to be entered (``with``) before the next checkpoint."""
        place = Place(self, amount, rank)
        self._queues[rank].append(place)
        self.waiting += 1
        if self._limits:  # it may have been refused only in order to be counted
            self.serve()
        return place

    def serve(self) -> None:
        """Grant what can be granted, in turn. Not re-entered by what ``grant`` frees."""
        if not self.waiting or self._serving:
            return
        self._serving = True
        try:
            while self.waiting:
                queue = self._next()
                place = queue[0]
                grant = self._grant(place.amount, place.rank)
                if grant is None:
                    return
                queue.popleft()
                self.waiting -= 1
                place.grant = grant
                place.granted.set()
                for behind, _ in self._limits:
                    if behind and behind[0].rank > place.rank:
                        behind[0].overtaken += 1
        finally:
            self._serving = False

    def dismiss(self, grant: Grant) -> None:
        """Give ``grant`` to all that wait, without asking for it: there will be nothing else."""
        for queue in self._queues:
            for place in queue:
                place.grant = grant
                place.granted.set()
            queue.clear()
        self.waiting = 0

    def _is_before(self, rank: int) -> bool:
        """Whether a place is in the queue whose turn comes before that of a new one."""
        for queue, _ in self._limits:
            if queue:
                return True
        return any(self._queues[: rank + 1])

    def _next(self) -> deque[Place[Grant]]:
        """The rank whose turn it is. Some place must be in the queue."""
        for queue, most in self._limits:
            if queue and queue[0].overtaken >= most:
                return queue
        for queue in self._queues:
            if queue:
                return queue
        raise AssertionError("no place in any queue")

    def _promote(self, place: Place[Grant], rank: int) -> None:
        self._queues[place.rank].remove(place)
        place.rank = rank
        self._queues[rank].append(place)
        self.serve()

    def _leave(self, place: Place[Grant]) -> None:
        if place.grant is not None:
            self._give_back(place.amount, place.grant)
        else:
            self._queues[place.rank].remove(place)
            self.waiting -= 1
            self.serve()  # the one behind may want less
