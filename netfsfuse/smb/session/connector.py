"""Connecting: one task dials, which all requests that need it wait for and no request owns.

When to dial and what to tell is ``lifecycle``'s to say. While the server is SUSPECT a rival of the
connection is dialled; the server has ended the old session before the new one begins, so from the
login on there is no way back. A caller that gives up (the root is shown as it was after two
seconds) leaves the attempt to the others: a login that was sent is heard to its end, lest a server
that takes its time to refuse one is sent another. The first connection is the exception: its
caller, the mount command, owns the attempt, and it is not repeated.
"""

from __future__ import annotations

import logging
import math
from collections.abc import Callable

import trio

from netfsfuse.errors import Barred, Disconnected, HostDown, MountError, Refused
from netfsfuse.smb.connection.handshake_result import HandshakeResult
from netfsfuse.smb.session.dialler import Dialler
from netfsfuse.smb.session.lifecycle import Lifecycle, State, Tell
from netfsfuse.smb.session.race import NotNeeded
from netfsfuse.tasks import ServiceNursery

log = logging.getLogger(__name__)

SUMMARY = 60.0
"""Seconds between lines of the log in an outage."""


class Connector:
    """Makes the mount's own connection, again and again. ``dialler`` has the life that the attempts
    are steps of. ``adopt`` takes a new connection. ``has_spoken``: whether the suspect one has,
    since it became so. ``changed`` is called whenever that life may have gone on. ``nursery`` owns
    the task that dials; :meth:`close` ends it.
    """

    def __init__(
        self,
        dialler: Dialler,
        adopt: Callable[[HandshakeResult], None],
        has_spoken: Callable[[], bool],
        changed: Callable[[], None],
        nursery: ServiceNursery,
    ) -> None:
        self._dialler = dialler
        self._adopt = adopt
        self._has_spoken = has_spoken
        self._tell_changed = changed
        self._nursery = nursery
        self._changed = trio.Event()
        self._due_sooner = trio.Event()
        self._sleeps_until = math.inf
        self._attempt: trio.CancelScope | None = None
        self._is_logging_in = False
        self._attempts = 0
        self._said_at = 0.0

    @property
    def _life(self) -> Lifecycle:
        return self._dialler.life

    async def connect_first(self) -> None:
        """Make the first connection, in the caller's task and ended with it. Raises MountError."""
        life = self._life
        if life.state is State.GONE:
            raise MountError("the mount is going away")
        life.begin()
        try:
            self._take(await self._dialler.dial())
        except Refused as refused:
            self._dialler.refused(refused, life.refused, is_news=False)
            raise
        finally:
            if life.state is State.CONNECTING:
                life.failed(trio.current_time())
        self._nursery.start_soon(self._dial_when_due)
        self._go_on()

    async def wait_up(self) -> None:
        """Return once there is a connection that is not suspect. Raises HostDown when that takes
        too long, Barred when the server refuses us, Disconnected when the mount goes away."""
        while True:
            answer = self._life.request(trio.current_time())
            if answer.tell is Tell.ASK:
                return
            if answer.tell is Tell.GONE:
                raise Disconnected("the mount is going away")
            if answer.tell is Tell.BARRED:
                raise Barred(str(self._life.refusal))
            if answer.tell is Tell.FAIL:
                raise HostDown(f"{self._dialler.config.host} is away for too long")
            waiting = self._changed
            if self._life.dial_at() < self._sleeps_until:
                self._due_sooner.set()
            with trio.move_on_at(answer.until):
                await waiting.wait()

    # -- what the session reports ----------------------------------------------------------------

    def suspected(self, since: float, *, was_of_use: bool) -> None:
        """The connection was silent ``since`` then, and owes an answer. ``was_of_use``: something
        was answered on it."""
        if self._life.state is State.UP:
            self._life.suspected(since, trio.current_time(), was_of_use=was_of_use)
            log.warning("%s does not answer", self._dialler.shown)
            self._attempts, self._said_at = 0, trio.current_time()
            self._go_on()

    def recovered(self) -> None:
        """It has spoken again."""
        if self._life.state not in (State.SUSPECT, State.REFUSED) or self._is_logging_in:
            return
        self._life.recovered()
        log.warning("%s answers again", self._dialler.shown)
        if self._attempt is not None:
            self._attempt.cancel()
        self._go_on()

    def lost(self, *, was_of_use: bool) -> None:
        """The connection has ended. ``was_of_use``: something was answered on it."""
        life, now = self._life, trio.current_time()
        if life.state is State.GONE:
            return
        if life.state is State.UP:
            self._attempts, self._said_at = 0, now
        life.lost(now, was_of_use=was_of_use)
        self._go_on()

    def reset(self, *, forgive: bool = False) -> None:
        """The surroundings have changed: what did not work may work now. ``forgive``: so may a
        login that was refused."""
        self._life.reset(trio.current_time(), forgive=forgive)
        self._go_on()

    def close(self) -> None:
        """No attempt any more. Idempotent."""
        self._life.close()
        if self._attempt is not None:
            self._attempt.cancel()
        self._go_on()

    # -- the task ------------------------------------------------------------------------------

    def _go_on(self) -> None:
        """The life has gone on: all who wait look at it again."""
        self._changed.set()
        self._changed = trio.Event()
        self._due_sooner.set()
        self._tell_changed()

    async def _dial_when_due(self) -> None:
        life = self._life
        while life.state is not State.GONE:
            self._due_sooner = trio.Event()
            self._sleeps_until = life.dial_at()
            with trio.move_on_at(self._sleeps_until):
                await self._due_sooner.wait()
            self._sleeps_until = math.inf
            if trio.current_time() >= life.dial_at():
                await self._dial()

    async def _dial(self) -> None:
        """One attempt."""
        life = self._life
        self._attempts += 1
        try:
            with trio.CancelScope() as self._attempt:
                self._take(await self._dialler.dial(self._may_log_in))
                log.warning(
                    "connected again to %s, at attempt %d", self._dialler.shown, self._attempts
                )
        except NotNeeded:
            self.recovered()
        except Refused as refused:
            self._dialler.refused(refused, life.refused, is_news=True)
        except MountError as failed:
            life.failed(trio.current_time())
            self._report(failed)
        except Exception:  # nothing else dials
            log.exception("an attempt to connect failed in a way that was not foreseen")
            life.failed(trio.current_time())
        finally:
            self._attempt, self._is_logging_in = None, False
            self._go_on()

    def _may_log_in(self) -> bool:
        """The server answers a new connection. Whether to change over to that."""
        if self._has_spoken():
            return False
        self._is_logging_in = True
        return True

    def _take(self, established: HandshakeResult) -> None:
        self._adopt(established)
        self._dialler.let_in(lambda: self._life.connected(trio.current_time()))

    def _report(self, failed: MountError) -> None:
        """A line at first, and one a minute."""
        now = trio.current_time()
        if self._attempts == 1 or now - self._said_at >= SUMMARY:
            self._said_at = now
            seconds = now - self._life.outage_began
            words = "%s is away for %.0f s, %d attempts: %s"
            log.warning(words, self._dialler.shown, seconds, self._attempts, failed)
        else:
            log.debug("%s", failed)
