"""Connecting: one attempt at a time, which all requests that need it wait for and no request owns.

A caller that gives up (the root is shown as it was after two seconds) leaves the attempt to the
others: a login that was sent is heard to its end, lest a server that takes its time to refuse one
is sent another by the next caller. When to dial and what to tell is ``lifecycle``'s to say. The
first connection is the exception: its caller, the mount command, owns the attempt.
"""

from __future__ import annotations

import logging
from collections.abc import Awaitable, Callable

import trio

from netfsfuse.errors import Barred, Disconnected, MountError, Refused
from netfsfuse.smb.session.dialler import Dialler
from netfsfuse.smb.session.lifecycle import Action, Lifecycle, State
from netfsfuse.tasks import ServiceNursery

log = logging.getLogger(__name__)


class _Attempt:
    """``error`` is what all are told once it is ``over``; None: connected."""

    def __init__(self) -> None:
        self.over = trio.Event()
        self.scope = trio.CancelScope()
        self.error: Disconnected | None = Disconnected("no connection could be made")


class Connector:
    """Attempts to make the mount's own connection by ``dial``, which raises MountError. ``dialler``
    has the life that they are steps of. ``nursery`` owns the attempt under way; :meth:`close` ends
    it.
    """

    def __init__(
        self, dialler: Dialler, dial: Callable[[], Awaitable[None]], nursery: ServiceNursery
    ) -> None:
        self._dialler = dialler
        self._dial = dial
        self._nursery = nursery
        self._attempt: _Attempt | None = None

    @property
    def _life(self) -> Lifecycle:
        return self._dialler.life

    async def connect_first(self) -> None:
        """Make the first connection, in the caller's task and ended with it. Raises MountError."""
        if self._life.begin(trio.current_time()) is not Action.DIAL:
            raise MountError(str(self._life.refusal or "the mount is going away"))
        await self._persist()

    async def connect(self) -> None:
        """Return once there is a new connection. Raises Disconnected when that fails, Barred when
        the server refuses us."""
        if standing := self._life.standing(trio.current_time()):
            raise Barred(str(standing))
        attempt = self._attempt
        if attempt is None:
            attempt = self._begin()
        await attempt.over.wait()
        if attempt.error is not None:
            raise type(attempt.error)(str(attempt.error))

    def close(self) -> None:
        """No attempt any more. Idempotent."""
        self._life.close()
        if self._attempt is not None:
            self._attempt.scope.cancel()

    def _begin(self) -> _Attempt:
        """An attempt, in a task of its own."""
        is_outage = self._life.state is State.UP
        if self._life.begin(trio.current_time()) is not Action.DIAL:
            raise Disconnected("the mount is going away")
        if is_outage:
            log.info("connecting again to %s", self._dialler.shown)
        attempt = _Attempt()
        try:
            self._nursery.start_soon(self._run, attempt)
        except RuntimeError:  # the nursery is closed: so is the mount
            self._life.given_up()
            raise
        self._attempt = attempt
        return attempt

    async def _run(self, attempt: _Attempt) -> None:
        try:
            with attempt.scope:
                await self._persist()
                attempt.error = None
                log.info("connected again to %s", self._dialler.shown)
        except Refused as refused:
            attempt.error = Barred(str(refused))
        except MountError as failed:
            attempt.error = Disconnected(str(failed))
        finally:
            self._attempt = None
            attempt.over.set()

    async def _persist(self) -> None:
        """Connect, or raise the reason why not, a MountError."""
        life = self._life
        try:
            while True:
                try:
                    await self._dial()
                except Refused as refused:
                    self._dialler.refused(refused, life.refused, is_news=life.was_up)
                    raise
                except MountError:
                    if life.failed(trio.current_time()) is not Action.PAUSE:
                        raise
                else:
                    self._dialler.let_in(life.connected)
                    return
                await trio.sleep(life.pause)
                if life.paused(trio.current_time()) is Action.BARRED and life.refusal is not None:
                    raise type(life.refusal)(str(life.refusal))
        finally:
            if life.state is State.CONNECTING:
                life.given_up()
