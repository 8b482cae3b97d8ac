"""Connecting again: one attempt at a time, which all who need it wait for and nobody owns.

A caller that gives up (the root is shown as it was after two seconds) leaves the attempt to the
others: a login that was sent is heard to its end, lest a server that takes its time to refuse one
is sent another by the next caller.
"""

from __future__ import annotations

import logging
from collections.abc import Awaitable, Callable

import trio

from netfsfuse.errors import Barred, Disconnected, MountError, Refused
from netfsfuse.tasks import ServiceNursery

log = logging.getLogger(__name__)

OUTAGE_PATIENCE = 5.0
"""Seconds from the first attempt to connect again in which a server that refuses is asked again: a
restart of smbd takes it away for 0.1 to 2 s, and who reads meanwhile shall not notice. In an outage
that lasts longer each request makes one attempt, and fails at once."""
_FIRST_PAUSE, _LONGEST_PAUSE = 0.1, 1.0


class _Attempt:
    """``error`` is what all are told once it is ``over``; None: connected."""

    def __init__(self) -> None:
        self.over = trio.Event()
        self.scope = trio.CancelScope()
        self.error: Disconnected | None = Disconnected("no connection could be made")


class Redial:
    """Attempts to make the connection to ``shown`` again by ``dial``, which raises MountError.
    ``nursery`` owns the attempt under way; :meth:`close` ends it.
    """

    def __init__(
        self, shown: str, dial: Callable[[], Awaitable[object]], nursery: ServiceNursery
    ) -> None:
        self._shown = shown
        self._dial = dial
        self._nursery = nursery
        self._attempt: _Attempt | None = None
        self._patient_until: float | None = None  # in an outage
        self._closed = False

    async def connect(self) -> None:
        """Return once there is a new connection. Raises Disconnected when that fails, Barred when
        the server refuses us."""
        if self._closed:
            raise Disconnected("the mount is going away")
        attempt = self._attempt
        if attempt is None:
            attempt = self._attempt = _Attempt()
            self._nursery.start_soon(self._run, attempt)
        await attempt.over.wait()
        if attempt.error is not None:
            raise type(attempt.error)(str(attempt.error))

    def close(self) -> None:
        """No attempt any more. Idempotent."""
        self._closed = True
        if self._attempt is not None:
            self._attempt.scope.cancel()

    async def _run(self, attempt: _Attempt) -> None:
        try:
            with attempt.scope:
                await self._persist()
                attempt.error = None
        except Disconnected as failed:
            attempt.error = failed
        finally:
            self._attempt = None
            attempt.over.set()

    async def _persist(self) -> None:
        """Connect, or raise the reason why not. See ``OUTAGE_PATIENCE``."""
        if self._patient_until is None:
            log.info("connecting again to %s", self._shown)
            self._patient_until = trio.current_time() + OUTAGE_PATIENCE
        pause = _FIRST_PAUSE
        while True:
            try:
                await self._dial()
            except Refused as refused:
                raise Barred(str(refused)) from refused
            except MountError as failed:
                if trio.current_time() + pause > self._patient_until:
                    raise Disconnected(str(failed)) from failed
                await trio.sleep(pause)
                pause = min(2 * pause, _LONGEST_PAUSE)
            else:
                self._patient_until = None
                log.info("connected again to %s", self._shown)
                return
