"""The service nursery: the tasks that outlive the call that started them, under one guard.

A trio nursery ends, and with it the mount, when one of its tasks raises. What a task is expected to
meet it handles itself; what was not foreseen (no thread to be had, no descriptor, a fault of ours)
costs that task and no other. So no caller has the nursery itself: all that start tasks are given a
:class:`ServiceNursery`, whose guard stands round each of them.

A task that is started here must leave those who wait for it told of its end, however it ends, in a
``finally`` of its own: the guard knows nothing of them. Imports nothing of this package.
"""

from __future__ import annotations

import logging
from collections.abc import Awaitable, Callable
from typing import Any

import trio

log = logging.getLogger(__name__)

Task = Callable[..., Awaitable[None]]

AGAIN_FIRST, AGAIN_LONGEST = 1.0, 60.0
"""Seconds after which a task that must not end is begun again."""


class ServiceNursery:
    """Starts tasks in ``nursery``, which its opener alone closes or cancels. ``failed`` is called
    for each task that ended by an exception."""

    def __init__(self, nursery: trio.Nursery, failed: Callable[[], None] = lambda: None) -> None:
        self._nursery = nursery
        self._failed = failed
        self._said: set[tuple[str, type[BaseException]]] = set()

    def start_soon(self, task: Task, *arguments: Any) -> None:
        """Run ``task(*arguments)``; what it raises is logged, counted and goes no further. Raises
        RuntimeError when the nursery is closed: so is the mount."""
        self._nursery.start_soon(self._guarded, task, arguments, name=_name(task))

    def keep_running(self, task: Task, *arguments: Any) -> None:
        """The same of a task that others count on as long as the mount lives: one that raises is
        begun again, after a while. When it returns it is over."""
        self._nursery.start_soon(self._kept, task, arguments, name=_name(task))

    async def _guarded(self, task: Task, arguments: tuple[Any, ...]) -> bool:
        """Whether the task came to its end. Raises Cancelled, and what is no Exception."""
        ended = False
        try:
            await task(*arguments)
            ended = True
        except* Exception as group:  # parts of a group, beside a Cancelled
            self._note(task, group)
        return ended

    async def _kept(self, task: Task, arguments: tuple[Any, ...]) -> None:
        pause = AGAIN_FIRST
        begun = trio.current_time()
        while not await self._guarded(task, arguments):
            if trio.current_time() - begun > AGAIN_LONGEST:
                pause = AGAIN_FIRST
            await trio.sleep(pause)
            pause = min(2 * pause, AGAIN_LONGEST)
            begun = trio.current_time()

    def _note(self, task: Task, group: ExceptionGroup[Exception]) -> None:
        """One line with a traceback for each kind of failure; all are counted."""
        self._failed()
        error = _only(group)
        kind = (_name(task), type(error))
        if kind in self._said:
            log.debug("%s failed again: %s: %s", kind[0], kind[1].__name__, error)
            return
        self._said.add(kind)
        log.error(
            "%s failed in a way that was not foreseen",
            kind[0],
            exc_info=error,
            extra={"state": f"{kind[0]} {kind[1].__name__}"},
        )


def _name(task: Task) -> str:
    module, name = getattr(task, "__module__", ""), getattr(task, "__qualname__", repr(task))
    return f"{module}.{name}"


def _only(group: ExceptionGroup[Exception]) -> Exception:
    """What ``group`` was made of, if that is one."""
    error: Exception = group
    while isinstance(error, ExceptionGroup) and len(error.exceptions) == 1:
        error = error.exceptions[0]
    return error
