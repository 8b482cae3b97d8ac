"""Connecting again: one attempt at a time, which all who need it wait for and nobody owns.

A caller that gives up (the root is shown as it was after two seconds) leaves the attempt to the
others: a login that was sent is heard to its end, lest a server that takes its time to refuse one
is sent another by the next caller. When to dial and what to tell is ``lifecycle``'s to say.
"""

from __future__ import annotations

import logging
from collections.abc import Awaitable, Callable

import trio

from netfsfuse.errors import Barred, Disconnected, MountError, Refused
from netfsfuse.smb.session.lifecycle import Lifecycle, State
from netfsfuse.tasks import ServiceNursery

log = logging.getLogger(__name__)


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
        self._life = Lifecycle()

    async def connect(self) -> None:
        """Return once there is a new connection. Raises Disconnected when that fails, Barred when
        the server refuses us."""
        if self._life.state is State.CLOSED:
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
        self._life.close()
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
            if self._life.state is State.DIALLING:
                self._life.given_up()
            self._attempt = None
            attempt.over.set()

    async def _persist(self) -> None:
        """Connect, or raise the reason why not."""
        if self._life.begin(trio.current_time()):
            log.info("connecting again to %s", self._shown)
        while True:
            try:
                await self._dial()
            except Refused as refused:
                self._life.refused()
                raise Barred(str(refused)) from refused
            except MountError as failed:
                pause = self._life.failed(trio.current_time())
                if pause is None:
                    raise Disconnected(str(failed)) from failed
                await trio.sleep(pause)
            else:
                self._life.connected()
                log.info("connected again to %s", self._shown)
                return
