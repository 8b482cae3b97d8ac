"""What all connections of one mount have in common: the way to the server, and what is known of it.

A handshake runs in a thread (``bridge``), for the connect timeout at most. Each connection must
have what the first one turned out to have (``least``): a server that offers less protection later
on is another one, or is spoken for.
"""

from __future__ import annotations

import logging
import uuid
from collections.abc import Callable

import trio

from netfsfuse.config import ServerConfig
from netfsfuse.errors import MountError, Refused
from netfsfuse.smb.connection.clock import ServerClock
from netfsfuse.smb.connection.handshake_result import HandshakeResult, Protection
from netfsfuse.smb.connection.landing import Landings
from netfsfuse.smb.connection.transport import Transport
from netfsfuse.smb.session.bridge import Handshake
from netfsfuse.smb.session.lifecycle import Action, Lifecycle
from netfsfuse.smb.session.logins import Logins
from netfsfuse.stats import ServerStats

log = logging.getLogger(__name__)

SMALLEST = 4096
"""Bytes that a server must be ready to send at once, of a file and of a listing."""

_RESOLVE_TIMEOUT = 2.0
"""Seconds beyond the connect timeout that a name server may take."""

# The mount's own connection has one ClientGuid, whenever it is made, by which the server knows its
# leases. Each has the server end the session of the one before: a WRITE that was under way when
# that was lost must not be done after others that came later. Further connections, which have no
# leases, have each a GUID of its own: Samba serves all of one GUID by one process, and two of them
# then read 620 to 780 MiB/s signed, 440 to 740 sealed, where two processes gave 830 to 1070 and 770
# to 950 (two cores, 16 reads of 1 MiB).
Handshaker = Callable[[ServerConfig, Protection | None], Handshake]


class Dialler:
    """Makes connections to the share that ``config`` names, counted in ``stats``. ``life`` says
    when it may be asked to; whose connection it is, is the caller's affair."""

    def __init__(
        self, config: ServerConfig, *, stats: ServerStats, handshaker: Handshaker | None = None
    ) -> None:
        self.config = config
        self.stats = stats
        self.clock = ServerClock()
        self.life = Lifecycle()
        self.least: Protection | None = None
        self._client_guid = uuid.uuid4()
        self._session_id = 0  # of the mount's own connection, the last one
        self._handshaker = handshaker or self._own_handshake
        self._handshaker_further = handshaker or self._further_handshake
        self._logins = Logins(config.credentials, config.renew_login)
        self._landings = Landings()

    @property
    def shown(self) -> str:
        """The share, as the log names it."""
        return f"//{self.config.host}/{self.config.share}"

    async def dial(self, *, further: bool = False) -> HandshakeResult:
        """One handshake, of a ``further`` connection or the mount's own, in a thread. Cancelled or
        late, it is abandoned and its thread ends by itself. The socket is the caller's. Raises
        MountError, one line for the user."""
        handshaker = self._handshaker_further if further else self._handshaker
        established = await self._run_handshake(handshaker)
        if min(established.max_read, established.max_transact) < SMALLEST:
            established.sock.close()
            raise MountError(f"{self.config.host} sends less than {SMALLEST} bytes at once")
        self.clock.read(established.clock)
        self.least = self.least or established.protection
        if not further:
            self._session_id = established.session_id
        return established

    def _own_handshake(self, config: ServerConfig, least: Protection | None) -> Handshake:
        return Handshake(
            config,
            least,
            client_guid=self._client_guid,
            previous_session=self._session_id,
            logins=self._logins,
        )

    def _further_handshake(self, config: ServerConfig, least: Protection | None) -> Handshake:
        return Handshake(config, least, logins=self._logins)

    def transport(
        self, established: HandshakeResult, on_break: Callable[[memoryview], None]
    ) -> Transport:
        """The connection that :meth:`dial` has made. The caller runs it; that closes the socket."""
        return Transport(
            established,
            ceiling=self.config.max_credits,
            idle_deadline=self.config.idle_deadline,
            stats=self.stats,
            landings=self._landings,
            on_break=on_break,
        )

    async def dial_further(self) -> HandshakeResult:
        """A connection beside the mount's own, as :meth:`dial`. While a refusal stands the server
        is not asked: that is raised again."""
        if standing := self.life.standing(trio.current_time()):
            raise type(standing)(str(standing))
        try:
            established = await self.dial(further=True)
        except Refused as refused:
            self.refused(refused, self.life.further_refused, is_news=True)
            raise
        self.let_in(self.life.further_connected)
        return established

    def refused(
        self, refusal: Refused, event: Callable[[Refused, float], Action], *, is_news: bool
    ) -> Action:
        """Report ``refusal`` to ``life`` as ``event``, and say it once, however often it is met:
        requests get it as their error. ``is_news`` is False where the caller shows it to the user.
        """
        now = trio.current_time()
        is_news = is_news and self.life.refusal is None
        action = event(refusal, now)
        self.stats.refused = str(refusal)
        level = logging.WARNING if is_news else logging.DEBUG
        log.log(level, "%s; not asked again for %g s", refusal, self.life.stands_for(now))
        return action

    def let_in(self, event: Callable[[], Action]) -> Action:
        """Report a connection to ``life`` as ``event``; say so where the server had refused one."""
        if self.life.refusal is not None:
            log.warning("%s lets us in again", self.shown)
            self.stats.refused = ""
        return event()

    async def _run_handshake(self, handshaker: Handshaker) -> HandshakeResult:
        try:
            handshake = handshaker(self.config, self.least)
        except OSError as failed:
            raise MountError(f"cannot connect: {failed.strerror}") from failed
        try:
            with trio.fail_after(self.config.connect_timeout + _RESOLVE_TIMEOUT):
                return await trio.to_thread.run_sync(handshake.run, abandon_on_cancel=True)
        except BaseException as failed:
            handshake.abandon()
            if isinstance(failed, trio.TooSlowError):
                raise MountError(f"{self.config.host} does not answer") from None
            if isinstance(failed, RuntimeError):  # no thread is to be had
                raise MountError(f"cannot connect: {failed}") from failed
            raise
