"""What stands round every handler.

pyfuse3 turns only FUSEError into an errno; anything else leaves its main loop and takes the mount
down. So here everything becomes a FUSEError: our errors by the table, a missed deadline and
whatever was not foreseen EIO, the latter with a traceback in the log. FUSE_INTERRUPT does not reach
handlers, and an O_DIRECT reader that was killed sits in D state until it is answered; therefore
each handler has a deadline of its own.
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
"""Seconds after which a handler answers EIO: users of cifs and NFS know that wait."""

P = ParamSpec("P")
R = TypeVar("R")


class Guarded(Protocol):
    """What the guard needs of the object whose handlers it stands round."""

    stats: Stats
    deadlines: Deadlines


S = TypeVar("S", bound=Guarded)


def guarded(
    handler: Callable[Concatenate[S, P], Coroutine[Any, Any, R]],
) -> Callable[Concatenate[S, P], Coroutine[Any, Any, R]]:
    """Let nothing but a result, a FUSEError or a cancellation out of ``handler``, in time."""

    async def guard(self: S, /, *args: P.args, **kwargs: P.kwargs) -> R:
        try:
            with self.deadlines.limit():
                return await handler(self, *args, **kwargs)
        except pyfuse3.FUSEError:
            raise
        except NetfsError as error:
            code = errno_of(error)
            if type(error) not in EXPECTED:
                self.stats.application.errors += 1
                kind = type(error).__name__
                state = {"state": (handler.__name__, kind)}
                log.warning("%s: %s: %s", handler.__name__, kind, error, extra=state)
            raise pyfuse3.FUSEError(code) from None
        except trio.TooSlowError:
            self.stats.application.errors += 1
            log.warning("%s: no answer within %g s", handler.__name__, self.deadlines.seconds)
            raise pyfuse3.FUSEError(errno.EIO) from None
        except Exception as unforeseen:
            self.stats.application.errors += 1
            log.exception(
                "%s failed in a way that was not foreseen",
                handler.__name__,
                extra={"state": (handler.__name__, type(unforeseen).__name__)},
            )
            raise pyfuse3.FUSEError(errno.EIO) from None

    functools.update_wrapper(guard, handler)
    return guard


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
