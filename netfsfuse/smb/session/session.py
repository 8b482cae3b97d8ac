"""The live connection to one share, made again when it was lost.

A request that meets a dead connection waits for one new attempt (all such requests share it); one
that only reads is sent once more when its connection is lost under way (``replay.py``); if that
fails too, its caller gets Disconnected. Every connection has a number: a
handle that was opened on an earlier one must be opened again (``file.py``).
"""

from __future__ import annotations

import logging
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import replace

import trio

from netfsfuse.config import ServerConfig
from netfsfuse.errors import (
    Barred,
    Disconnected,
    MountError,
    NetfsError,
    ProtocolError,
    Refused,
)
from netfsfuse.smb.connection.clock import ServerClock
from netfsfuse.smb.connection.exchange import Reply, Request
from netfsfuse.smb.connection.handshake_result import HandshakeResult, Protection
from netfsfuse.smb.connection.landing import Landings
from netfsfuse.smb.connection.transport import Transport
from netfsfuse.smb.session import replay
from netfsfuse.smb.session.bridge import Handshake
from netfsfuse.smb.session.channels import Channels
from netfsfuse.smb.session.fileids import FileIds
from netfsfuse.smb.session.followed import Followed
from netfsfuse.smb.session.lease import Leases
from netfsfuse.smb.session.odd_names import OddNames
from netfsfuse.smb.session.redial import Redial
from netfsfuse.smb.session.refusals import Refusals
from netfsfuse.smb.session.scarcity import Scarcity
from netfsfuse.smb.status import SHORT_OF_HANDLES, error_of, is_end_of_session
from netfsfuse.smb.wire.create import pack_close
from netfsfuse.smb.wire.header import Command
from netfsfuse.stats import ServerStats
from netfsfuse.tasks import ServiceNursery

log = logging.getLogger(__name__)

_TEARDOWN_BODY = b"\x04\0\0\0"
_TEARDOWN_SECONDS = 2.0
_RESOLVE_SECONDS = 2.0

SMALLEST = 4096
"""Bytes that a server must be ready to send at once, of a file and of a listing."""

_SMB3 = 0x0300
_MAX_WAITING = 64

Handshaker = Callable[[ServerConfig, Protection | None], Handshake]


class Session:
    """One share on one server. ``nursery`` owns the receive tasks of all its connections.

    ``lasting`` is False for one of ``channels``, further connections for reads: a lost one is not
    made again, its requests raise Disconnected. ``least`` is what its connections must have, in
    place of what the first one turns out to have; ``refusals`` are those of all of them.
    """

    def __init__(
        self,
        config: ServerConfig,
        *,
        nursery: ServiceNursery,
        stats: ServerStats,
        handshaker: Handshaker = Handshake,
        lasting: bool = True,
        landings: Landings | None = None,
        clock: ServerClock | None = None,
        least: Protection | None = None,
        refusals: Refusals | None = None,
    ) -> None:
        self.config = config
        self.number = 0
        self.clock = clock or ServerClock()
        self.file_ids = FileIds()
        self.odd_names = OddNames()
        self.followed = Followed(self)
        self.leases = Leases()
        self.scarcity = Scarcity()
        self._nursery = nursery
        self._stats = stats
        self._handshaker = handshaker
        self._transport: Transport | None = None
        self._redial = Redial(f"//{config.host}/{config.share}", self._dial_again, nursery)
        self._acknowledging = 0
        self._lasting = lasting
        self._landings = landings or Landings()
        self._least = least
        self._refusals = refusals or Refusals()
        self.channels = Channels(self, self._for_channel, most=config.max_channels, nursery=nursery)

    def _for_channel(self) -> Session:
        return Session(
            replace(self.config, max_channels=1),
            nursery=self._nursery,
            stats=self._stats,
            handshaker=self._handshaker,
            lasting=False,
            landings=self._landings,
            clock=self.clock,
            least=self._least,
            refusals=self._refusals,
        )

    @property
    def live(self) -> Transport | None:
        """The connection as it is now."""
        current = self._transport
        return current if current is not None and current.error is None else None

    @property
    def max_transact(self) -> int:
        """Bytes that the server sends at once of all but files."""
        return SMALLEST if self._transport is None else self._transport.established.max_transact

    def read_capacity(self) -> int:
        """See ``Channels.read_capacity``. Changes as the server grants credits; at least 64 KiB."""
        return self.channels.read_capacity()

    async def connect(self) -> HandshakeResult:
        """Make the first connection. Raises MountError, one line for the user."""
        transport = await self._dial()
        return transport.established

    async def transport(self) -> Transport:
        """The live connection, made anew if need be.

        Raises Disconnected when that fails, Barred when the server refuses us.
        """
        if (current := self.live) is not None:
            return current
        if not self._lasting:
            raise Disconnected("the connection is gone")
        if standing := self._refusals.standing(trio.current_time()):
            raise Barred(str(standing))
        await self._redial.connect()
        if (current := self.live) is None:
            raise Disconnected("the connection was lost again")
        return current

    async def _dial_again(self) -> None:
        self.channels.drop()
        await self._dial()
        self._stats.reconnects += 1

    async def _dial(self) -> Transport:
        established = await self._shake_hands()
        if min(established.max_read, established.max_transact) < SMALLEST:
            established.sock.close()
            raise MountError(f"{self.config.host} sends less than {SMALLEST} bytes at once")
        self.clock.read(established.clock)
        self._least = self._least or established.protection
        transport = Transport(
            established,
            ceiling=self.config.max_credits,
            idle_deadline=self.config.idle_deadline,
            stats=self._stats,
            landings=self._landings,
            on_break=lambda message: self.leases.take_break(message, self._acknowledge),
        )
        self.leases.end_all()
        # Samba sends breaks in plain, which an encrypted session must not take.
        sealed = established.sealer is not None
        if established.leasing and not sealed and self.config.leases and self._lasting:
            self.leases.version = 2 if established.dialect >= _SMB3 else 1
        self._nursery.start_soon(transport.run)
        self._transport = transport
        self.number += 1
        return transport

    async def _shake_hands(self) -> HandshakeResult:
        """Run the handshake in a thread, for the connect timeout at most (a name server may take
        longer). Cancelled or late, it is abandoned and its thread ends by itself. A server that has
        refused us a moment ago is not asked. Raises MountError.
        """
        if standing := self._refusals.standing(trio.current_time()):
            raise type(standing)(str(standing))
        try:
            established = await self._run_handshake()
        except Refused as refused:
            self._refused(refused)
            raise
        if self._refusals.last is not None:
            log.warning("//%s/%s lets us in again", self.config.host, self.config.share)
            self._stats.refused = ""
        self._refusals.accept()
        return established

    def _refused(self, refusal: Refused) -> None:
        """Say it once, however often it is asked; requests get it as their error."""
        news = self._refusals.last is None and (self.number > 0 or not self._lasting)
        pause = self._refusals.refuse(refusal, trio.current_time())
        self._stats.refused = str(refusal)
        level = logging.WARNING if news else logging.DEBUG
        log.log(level, "%s; not asked again for %g s", refusal, pause)

    async def _run_handshake(self) -> HandshakeResult:
        try:
            handshake = self._handshaker(self.config, self._least)
        except OSError as failed:
            raise MountError(f"cannot connect: {failed.strerror}") from failed
        try:
            with trio.fail_after(self.config.connect_timeout + _RESOLVE_SECONDS):
                return await trio.to_thread.run_sync(handshake.run, abandon_on_cancel=True)
        except BaseException as failed:
            handshake.abandon()
            if isinstance(failed, trio.TooSlowError):
                raise MountError(f"{self.config.host} does not answer") from None
            if isinstance(failed, RuntimeError):  # no thread is to be had
                raise MountError(f"cannot connect: {failed}") from failed
            raise

    async def exchange(self, requests: Callable[[Transport], Sequence[Request]]) -> list[Reply]:
        """The replies to what ``requests`` makes for the live connection; once more on a new one if
        that one was lost and they only read (``replay.py``).

        Raises Disconnected or ProtocolError. A reply that says that the session is gone counts as a
        lost connection. An open that is refused for want of handles is tried once more when ours
        have given way.
        """
        transport, sent, replies = await replay.run(self, requests)
        if replies[0].status in SHORT_OF_HANDLES and self.scarcity.give_way():
            transport.take_back(sent, replies)  # what was opened beside it
            replies = (await replay.run(self, requests)).replies
        return replies

    def lost(self, reply: Reply, transport: Transport) -> bool:
        """Whether ``reply`` says that session or tree are gone; ends the connection if so."""
        if reply.status and is_end_of_session(reply.status):
            transport.fail(error_of(reply.status, "session"))
            return True
        return False

    def spawn(self, task: Callable[..., Awaitable[None]], *arguments: object) -> None:
        """Run ``task`` in the nursery that owns the receive tasks."""
        self._nursery.start_soon(task, *arguments)

    def close_later(self, handle: bytes, number: int) -> None:
        """CLOSE ``handle`` of connection ``number``, and wait for nothing. No error is told:
        the handle is gone with its connection, and nobody reads or writes by it any more."""
        transport = self.live
        if transport is None or number != self.number:
            return
        close = Request(Command.CLOSE, pack_close(handle))
        if not transport.post(close):
            self.spawn(self._close, transport, close)

    async def _close(self, transport: Transport, close: Request) -> None:
        try:
            await transport.exchange([close])
        except NetfsError as failed:
            log.debug("CLOSE: %s", failed)

    def _acknowledge(self, request: Request) -> None:
        """Answer a break. The server waits for it, some 35 s, and for nothing of what it answers;
        where many wait already for a credit it has to."""
        transport = self.live
        if transport is None or transport.post(request) or self._acknowledging >= _MAX_WAITING:
            return
        self._acknowledging += 1
        self.spawn(self._acknowledge_later, transport, request)

    async def _acknowledge_later(self, transport: Transport, request: Request) -> None:
        try:
            await transport.exchange([request])
        except NetfsError as failed:
            log.debug("acknowledging a break: %s", failed)
        finally:
            self._acknowledging -= 1

    async def aclose(self) -> None:
        """Leave the tree and log off, politely but briefly, and end the connection."""
        self._redial.close()
        await self.channels.aclose()
        transport = self._transport
        if transport is None or transport.error is not None:
            return
        with trio.move_on_after(_TEARDOWN_SECONDS, shield=True):
            try:
                for command in (Command.TREE_DISCONNECT, Command.LOGOFF):
                    await transport.exchange([Request(command, _TEARDOWN_BODY)])
            except (Disconnected, ProtocolError) as failed:
                log.debug("teardown: %s", failed)
        transport.fail(Disconnected("logged off"))
