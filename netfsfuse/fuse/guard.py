"""What stands round every handler.

pyfuse3 turns only FUSEError into an errno; anything else leaves its main loop and takes the mount
down. So here everything becomes a FUSEError: our errors by the table, a missed deadline ETIMEDOUT,
and whatever was not foreseen EIO, with a traceback in the log. FUSE_INTERRUPT does not reach
handlers, and an O_DIRECT reader that was killed sits in D state until it is answered; therefore
each handler that may wait has a deadline (``deadlines.py``), or, where it waits for bytes that are
on their way to the server, one that counts from the last that got there (:func:`patient`).
"""

from __future__ import annotations

import errno
import functools
import logging
from collections.abc import Callable, Coroutine
from typing import Any, Concatenate, ParamSpec, Protocol, TypeVar

import pyfuse3
import trio

from netfsfuse.errors import NetfsError
from netfsfuse.fuse.deadlines import Deadlines
from netfsfuse.fuse.errnos import EXPECTED, errno_of
from netfsfuse.stats import Stats

log = logging.getLogger(__name__)

DEADLINE = 30.0
"""Seconds in which nothing has moved, after which a handler answers ETIMEDOUT: users of cifs and
NFS know that wait."""

P = ParamSpec("P")
R = TypeVar("R")


class Guarded(Protocol):
    """What the guard needs of the object whose handlers it stands round."""

    stats: Stats
    deadlines: Deadlines


S = TypeVar("S", bound=Guarded)


def prompt(
    handler: Callable[Concatenate[S, P], Coroutine[Any, Any, R]],
) -> Callable[Concatenate[S, P], Coroutine[Any, Any, R]]:
    """Let nothing but a result, a FUSEError or a cancellation out of ``handler``, which waits for
    nothing: it needs no deadline, which costs 9 us, more than all else that is done at the close of
    a small file."""

    async def guard(self: S, /, *args: P.args, **kwargs: P.kwargs) -> R:
        try:
            return await handler(self, *args, **kwargs)
        except Exception as error:
            raise _answer(self, handler.__name__, error) from None

    functools.update_wrapper(guard, handler)
    return guard


def patient(
    handler: Callable[Concatenate[S, P], Coroutine[Any, Any, R]],
) -> Callable[Concatenate[S, P], Coroutine[Any, Any, R]]:
    """As :func:`prompt`, for a handler that waits until the server has what was written: 64 MiB may
    take a minute. What it awaits must raise DeadlineExceeded once ``DEADLINE`` seconds have gone by
    in which no byte came further."""
    return prompt(handler)


def guarded(
    handler: Callable[Concatenate[S, P], Coroutine[Any, Any, R]],
) -> Callable[Concatenate[S, P], Coroutine[Any, Any, R]]:
    """As :func:`prompt`, for a handler that may wait: it ends in time."""

    async def limited(self: S, /, *args: P.args, **kwargs: P.kwargs) -> R:
        with self.deadlines.limit():
            return await handler(self, *args, **kwargs)

    functools.update_wrapper(limited, handler)
    return prompt(limited)


def guarded_after(
    ready: Callable[Concatenate[S, P], R | None],
) -> Callable[
    [Callable[Concatenate[S, P], Coroutine[Any, Any, R]]],
    Callable[Concatenate[S, P], Coroutine[Any, Any, R]],
]:
    """As :func:`guarded`, for a handler whose answer is often there already: ``ready`` waits for
    nothing and returns it, or None to have the handler called, under its deadline."""

    def decorate(
        handler: Callable[Concatenate[S, P], Coroutine[Any, Any, R]],
    ) -> Callable[Concatenate[S, P], Coroutine[Any, Any, R]]:
        async def answer_or_limited(self: S, /, *args: P.args, **kwargs: P.kwargs) -> R:
            answer = ready(self, *args, **kwargs)
            if answer is not None:
                return answer
            with self.deadlines.limit():
                return await handler(self, *args, **kwargs)

        functools.update_wrapper(answer_or_limited, handler)
        return prompt(answer_or_limited)

    return decorate


def _answer(guarded: Guarded, name: str, error: Exception) -> pyfuse3.FUSEError:
    """What the kernel is told of the ``error`` of the handler ``name``; the log, where it is not of
    the common kind. To be called where it is being handled."""
    if isinstance(error, pyfuse3.FUSEError):
        return error
    stats = guarded.stats.application
    if isinstance(error, NetfsError):
        if type(error) not in EXPECTED:
            stats.errors += 1
            kind = type(error).__name__
            log.warning("%s: %s: %s", name, kind, error, extra={"state": (name, kind)})
        return pyfuse3.FUSEError(errno_of(error))
    stats.errors += 1
    if isinstance(error, trio.TooSlowError):
        state = {"state": (name, "TooSlowError")}
        log.warning("%s: no answer within %g s", name, guarded.deadlines.seconds, extra=state)
        return pyfuse3.FUSEError(errno.ETIMEDOUT)
    else:
        state = {"state": (name, type(error).__name__)}
        log.exception("%s failed in a way that was not foreseen", name, extra=state)
    return pyfuse3.FUSEError(errno.EIO)


def never_raises(
    handler: Callable[Concatenate[S, P], Coroutine[Any, Any, None]],
) -> Callable[Concatenate[S, P], Coroutine[Any, Any, None]]:
    """For ``forget``, from which even a FUSEError would take the mount down."""

    async def guard(self: S, /, *args: P.args, **kwargs: P.kwargs) -> None:
        try:
            await handler(self, *args, **kwargs)
        except Exception:
            log.exception("%s failed", handler.__name__)

    functools.update_wrapper(guard, handler)
    return guard
