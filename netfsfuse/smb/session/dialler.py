"""What all connections of one mount have in common: the way to the server, and what is known of it.

A handshake runs in a thread (``bridge``), one for each address that is tried (``race``). Each
connection must have what the first one turned out to have (``least``): a server that offers less
protection later on is another one, or is spoken for.
"""

from __future__ import annotations

import logging
import uuid
from collections.abc import Callable
from dataclasses import replace

import trio

from netfsfuse.config import ServerConfig
from netfsfuse.errors import MountError, Refused
from netfsfuse.smb.connection.clock import ServerClock
from netfsfuse.smb.connection.handshake_result import HandshakeResult, Protection
from netfsfuse.smb.connection.landing import Landings
from netfsfuse.smb.connection.liveness import Patience
from netfsfuse.smb.connection.transport import Transport
from netfsfuse.smb.session.addresses import Addresses
from netfsfuse.smb.session.bridge import Handshake
from netfsfuse.smb.session.lifecycle import Lifecycle
from netfsfuse.smb.session.logins import Logins
from netfsfuse.smb.session.race import Attempt, Race
from netfsfuse.stats import ServerStats

log = logging.getLogger(__name__)

SMALLEST = 4096
"""Bytes that a server must be ready to send at once, of a file and of a listing."""

RESOLVE_TIMEOUT = 2.0
"""Seconds beyond the connect timeout that a name server may take."""

REACH_TIMEOUT = 3.0
"""Seconds that an address is given to answer, once the server was connected before."""

# The mount's own connection has one ClientGuid, whenever it is made, by which the server knows its
# leases. Each has the server end the session of the one before: a WRITE that was under way when
# that was lost must not be done after others that came later. Further connections, which have no
# leases, have each a GUID of its own: Samba serves all of one GUID by one process, and two of them
# then read 620 to 780 MiB/s signed, 440 to 740 sealed, where two processes gave 830 to 1070 and 770
# to 950 (two cores, 16 reads of 1 MiB).
Handshaker = Callable[[ServerConfig, Protection | None], Attempt]


class Dialler:
    """Makes connections to the share that ``config`` names, counted in ``stats``. ``life`` says
    when it may be asked to; whose connection it is, is the caller's affair. With a ``handshaker``
    of the caller's no name is looked up."""

    def __init__(
        self, config: ServerConfig, *, stats: ServerStats, handshaker: Handshaker | None = None
    ) -> None:
        self.config = config
        self.stats = stats
        self.clock = ServerClock()
        self.life = Lifecycle(hard=config.hard)
        self.least: Protection | None = None
        self._client_guid = uuid.uuid4()
        self._session_id = 0  # of the mount's own connection, the last one
        self._handshaker = handshaker or self._own_handshake
        self._handshaker_further = handshaker or self._further_handshake
        self._logins = Logins(config.credentials, config.renew_login)
        self._addresses = None if handshaker else Addresses(config)
        self._landings = Landings()

    @property
    def shown(self) -> str:
        """The share, as the log names it."""
        return f"//{self.config.host}/{self.config.share}"

    async def dial(
        self, may_log_in: Callable[[], bool] = lambda: True, *, further: bool = False
    ) -> HandshakeResult:
        """One handshake, of a ``further`` connection or the mount's own, in threads: at all of the
        server's addresses, with one login. ``may_log_in`` is asked once, when the server has
        answered at one. Cancelled or late, it is abandoned and its threads end by themselves. The
        socket is the caller's. Raises MountError, one line for the user; NotNeeded where no login
        is wanted."""
        handshaker = self._handshaker_further if further else self._handshaker
        established = await self._run_race(handshaker, may_log_in)
        if min(established.max_read, established.max_transact) < SMALLEST:
            established.sock.close()
            raise MountError(f"{self.config.host} sends less than {SMALLEST} bytes at once")
        if self._addresses is not None:
            self._addresses.reached(established.sock)
        self.clock.read(established.clock)
        self.least = self.least or established.protection
        if not further:
            self._session_id = established.session_id
        return established

    @property
    def _reach_timeout(self) -> float | None:
        """The first connection may take its time: a person waits for it."""
        return None if self.least is None else REACH_TIMEOUT

    def _own_handshake(self, config: ServerConfig, least: Protection | None) -> Attempt:
        return Handshake(
            config,
            least,
            client_guid=self._client_guid,
            previous_session=self._session_id,
            logins=self._logins,
            reach_timeout=self._reach_timeout,
        )

    def _further_handshake(self, config: ServerConfig, least: Protection | None) -> Attempt:
        return Handshake(config, least, logins=self._logins, reach_timeout=self._reach_timeout)

    def transport(
        self, established: HandshakeResult, on_break: Callable[[memoryview], None]
    ) -> Transport:
        """The connection that :meth:`dial` has made. The caller runs it; that closes the socket."""
        return Transport(
            established,
            ceiling=self.config.max_credits,
            patience=Patience(self.config.idle_deadline, self.config.echo_interval),
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
        self, refusal: Refused, event: Callable[[Refused, float], None], *, is_news: bool
    ) -> None:
        """Report ``refusal`` to ``life`` as ``event``, and say it once, however often it is met:
        requests get it as their error. ``is_news`` is False where the caller shows it to the user.
        """
        now = trio.current_time()
        is_news = is_news and self.life.refusal is None
        event(refusal, now)
        self.stats.refused = str(refusal)
        level = logging.WARNING if is_news else logging.DEBUG
        log.log(level, "%s; not asked again for %g s", refusal, self.life.stands_for(now))

    def let_in(self, event: Callable[[], None]) -> None:
        """Report a connection to ``life`` as ``event``; say so where the server had refused one."""
        if self.life.refusal is not None:
            log.warning("%s lets us in again", self.shown)
            self.stats.refused = ""
        event()

    async def _run_race(
        self, handshaker: Handshaker, may_log_in: Callable[[], bool]
    ) -> HandshakeResult:
        addresses = self._addresses
        race = Race(
            lambda address: handshaker(replace(self.config, address=address), self.least),
            [self.config.address] if addresses is None else addresses.known(),
            None if addresses is None or addresses.are_given else addresses.look_up,
            may_log_in,
        )
        limit = self.config.connect_timeout + (REACH_TIMEOUT if self.least else RESOLVE_TIMEOUT)
        try:
            with trio.fail_after(limit):
                return await race.run()
        except trio.TooSlowError:
            raise MountError(f"{self.config.host} does not answer") from None
