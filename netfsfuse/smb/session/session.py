"""The live connection to one share, made again when it was lost.

A request that meets a dead connection waits for one new attempt (all such requests share it); one
that only reads is sent once more when its connection is lost under way (``replay.py``); if that
fails too, its caller gets Disconnected. Every connection has a number: a
handle that was opened on an earlier one must be opened again (``file.py``).
"""

from __future__ import annotations

import logging
import math
from collections.abc import Awaitable, Callable, Sequence

import trio

from netfsfuse.errors import Disconnected, NetfsError, ProtocolError
from netfsfuse.smb.connection.credits import CREDIT_BYTES
from netfsfuse.smb.connection.exchange import Reply, Request
from netfsfuse.smb.connection.handshake_result import HandshakeResult
from netfsfuse.smb.connection.liveness import Pulse
from netfsfuse.smb.connection.transport import Transport
from netfsfuse.smb.session import replay
from netfsfuse.smb.session.channels import Channels
from netfsfuse.smb.session.connector import Connector
from netfsfuse.smb.session.dialler import SMALLEST, Dialler
from netfsfuse.smb.session.fileids import FileIds
from netfsfuse.smb.session.followed import Followed
from netfsfuse.smb.session.lease import Leases
from netfsfuse.smb.session.lifecycle import State
from netfsfuse.smb.session.odd_names import OddNames
from netfsfuse.smb.session.reachability import ServerReach
from netfsfuse.smb.session.scarcity import Scarcity
from netfsfuse.smb.status import SHORT_OF_HANDLES, error_of, is_end_of_session
from netfsfuse.smb.wire.create import pack_close
from netfsfuse.smb.wire.header import Command
from netfsfuse.surroundings import Sleep
from netfsfuse.tasks import ServiceNursery
from netfsfuse.types import Reach

log = logging.getLogger(__name__)

_TEARDOWN_BODY = b"\x04\0\0\0"
_TEARDOWN_TIMEOUT = 2.0

_REACH = {State.UP: Reach.UP, State.SUSPECT: Reach.SUSPECT, State.REFUSED: Reach.REFUSED}

_PROBED = 1.0
"""Seconds of silence after which a server is asked for a word before its watches are believed."""

_ANSWERED = 3.0
"""Seconds that an ECHO of an idle connection may take until its silence counts."""

_SMB3 = 0x0300
_MAX_WAITING = 64


class Session:
    """One share on one server. ``dialler`` makes its connections, whose receive tasks ``nursery``
    owns.

    ``lasting`` is False for one of ``channels``, further connections for reads: a lost one is not
    made again, its requests raise Disconnected.
    """

    def __init__(self, dialler: Dialler, *, nursery: ServiceNursery, lasting: bool = True) -> None:
        self.config = dialler.config
        self.number = 0
        self.clock = dialler.clock
        self.file_ids = FileIds()
        self.odd_names = OddNames()
        self.followed = Followed(self)
        self.leases = Leases(self.spawn)
        self.scarcity = Scarcity()
        self.reachability = ServerReach(self._vouch, self._progress)
        self._dialler = dialler
        self._nursery = nursery
        self._stats = dialler.stats
        self._transport: Transport | None = None
        self._connector = Connector(dialler, self._adopt, self._has_spoken, self.review, nursery)
        self._ready: Transport | None = None  # to be asked
        self._lost: Transport | None = None  # whose end is reported
        self._sleep = Sleep()
        self._doubted_at = -math.inf
        self._acknowledging = 0
        self._lasting = lasting
        most = self.config.max_channels if lasting else 1
        self.channels = Channels(self, self._for_channel, most=most, nursery=nursery)

    def _for_channel(self) -> Session:
        return Session(self._dialler, nursery=self._nursery, lasting=False)

    @property
    def live(self) -> Transport | None:
        """The connection as it is now."""
        current = self._transport
        return current if current is not None and current.error is None else None

    @property
    def max_transact(self) -> int:
        """Bytes that the server sends at once of all but files."""
        return SMALLEST if self._transport is None else self._transport.established.max_transact

    @property
    def max_write(self) -> int:
        """Bytes that the server takes of a file at once."""
        return SMALLEST if self._transport is None else self._transport.established.max_write

    def write_capacity(self) -> int:
        """Bytes of writes that the credits now held allow at once: all go by the mount's own
        connection, which alone has leases. Changes as the server grants credits; at least
        64 KiB."""
        live = self.live
        return CREDIT_BYTES if live is None else max(live.read_capacity, CREDIT_BYTES)

    def read_capacity(self) -> int:
        """Bytes of reads that the credits now held allow at once, on all connections. Changes as
        the server grants credits; at least 64 KiB."""
        return self.channels.read_capacity()

    async def connect(self) -> HandshakeResult:
        """Make the first connection. Raises MountError, one line for the user."""
        if self._lasting:
            await self._connector.connect_first()
        else:
            self._adopt(await self._dialler.dial_further())
        assert self._transport is not None
        return self._transport.established

    async def transport(self) -> Transport:
        """The live connection, made anew if need be, and not one that owes an answer.

        Raises HostDown when that takes too long, Barred when the server refuses us, Disconnected
        when the mount goes away.
        """
        while True:
            if (ready := self._ready) is not None and ready.error is None:
                return ready
            if not self._lasting:
                raise Disconnected("the connection is gone")
            if (current := self._transport) is not None and current.error is not None:
                self._lose(current)
            await self._connector.wait_up()
            await trio.lowlevel.checkpoint()

    def may_ask_again(self, begun: float, attempts: int) -> bool:
        """Whether what reads, and was first asked at ``begun`` (trio clock), may be asked again
        after so many ``attempts``."""
        retrans = self.config.retrans
        if retrans is not None and attempts > retrans and not self.config.hard:
            return False
        return self._dialler.life.may_ask_again(begun, trio.current_time())

    def _adopt(self, established: HandshakeResult) -> None:
        """The connection is this one from now on."""
        before = self._transport
        transport = self._dialler.transport(
            established, lambda message: self.leases.take_break(message, self._acknowledge)
        )
        transport.lookout.tell = self.review
        self.leases.end_all()
        # Samba sends breaks in plain, which an encrypted session must not take.
        sealed = established.sealer is not None
        if established.leasing and not sealed and self.config.leases and self._lasting:
            self.leases.version = 2 if established.dialect >= _SMB3 else 1
        self._nursery.start_soon(self._run, transport)
        self._transport = transport
        self.number += 1
        if not self._lasting:
            self._ready = transport
        elif before is not None:
            self._stats.reconnects += 1
            if before.error is None:
                self.channels.drop()
                before.fail(Disconnected("another connection has taken its place"))
                self.reachability.doubt()

    async def _run(self, transport: Transport) -> None:
        try:
            await transport.run()
        finally:
            self._lose(transport)

    def _lose(self, transport: Transport) -> None:
        """``transport`` has ended, or is ending. Idempotent."""
        if self._transport is not transport or self._lost is transport or not self._lasting:
            return
        self._lost = transport
        self.channels.drop()
        self._connector.lost(was_of_use=transport.lookout.progress > 0)
        self.reachability.doubt()

    def review(self) -> None:
        """Something has changed in what is known of the server: act on it, and say so."""
        live = self.live
        is_suspect = live is not None and live.lookout.pulse is Pulse.SUSPECT
        if not self._lasting:
            if live is not None and is_suspect:
                live.fail(Disconnected("it does not answer"))
            return
        if live is not None and is_suspect:
            self._connector.suspected(
                live.lookout.silent_since, was_of_use=live.lookout.progress > 0
            )
        elif live is not None:
            self._connector.recovered()
        life = self._dialler.life
        is_up = life.state is State.UP
        self._ready = live if is_up else None
        reach, since = _REACH.get(life.state, Reach.DOWN), life.outage_began
        if is_up and live is not None and live.lookout.pulse is not Pulse.LIVE:
            reach, since = Reach.SUSPECT, live.lookout.silent_since
        self.reachability.become(reach, since, life.waits_until())

    def _has_spoken(self) -> bool:
        live = self.live
        return live is not None and live.lookout.heard_at > self._dialler.life.outage_began

    # -- what watches and leases vouch for -------------------------------------------------------

    def _vouch(self) -> bool:
        """Whether the server would have told by now of what it is to tell by itself."""
        live, now = self.live, trio.current_time()
        if live is None:
            return False
        self.look_for_sleep()
        silence = now - live.lookout.heard_at
        is_doubted = self._doubted_at >= live.lookout.heard_at
        if is_doubted or silence > _PROBED:
            live.lookout.probe()
        return not is_doubted and silence < self.config.echo_interval + _ANSWERED

    def _progress(self) -> object:
        live = self.live
        return None if live is None else (self.number, live.lookout.progress)

    def look_for_sleep(self) -> None:
        """Where the machine has slept, all that was vouched for is in doubt, and the connection is
        to prove that it lives."""
        if self._sleep.is_over():
            log.info("the machine has slept")
            self.network_changed()
            self.reachability.doubt()

    def network_changed(self) -> None:
        """Links or addresses came or went: the connection is to prove that it lives, and one that
        could not be made may be by now."""
        self._doubted_at = trio.current_time()
        self.reachability.vouch_anew()
        if self.live is not None:
            self.live.lookout.probe()
        self._connector.reset()

    def credentials_changed(self) -> None:
        """A login that was refused may be let in by now."""
        self._connector.reset(forgive=True)

    async def exchange(self, requests: Callable[[Transport], Sequence[Request]]) -> list[Reply]:
        """The replies to what ``requests`` makes for the live connection; once more on a new one if
        that one was lost and they only read (``replay.py``).

        Raises Disconnected or ProtocolError. A reply that says that the session is gone counts as a
        lost connection. An open that is refused for want of handles is tried once more when ours
        have given way.
        """
        transport, sent, replies = await replay.run(self, requests)
        done = [request for request, reply in zip(sent, replies, strict=True) if not reply.status]
        if (
            replies[0].status in SHORT_OF_HANDLES
            and replay.may_repeat(done)
            and self.scarcity.give_way()
        ):
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
        the handle is gone with its connection, and no reader has it any more."""
        self.send_later(Request(Command.CLOSE, pack_close(handle)), number)

    def send_later(self, request: Request, number: int) -> None:
        """Send ``request``, if connection ``number`` is the live one, and wait for nothing: it
        gives up what the end of the connection would, too. No error is told."""
        transport = self.live
        if transport is None or number != self.number:
            return
        if not transport.post(request):
            self.spawn(self._send_late, transport, request)

    async def _send_late(self, transport: Transport, request: Request) -> None:
        try:
            await transport.exchange([request])
        except NetfsError as failed:
            log.debug("%s: %s", request.command.name, failed)

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
        if self._lasting:
            self._connector.close()
        await self.channels.aclose()
        transport = self._transport
        if transport is None or transport.error is not None:
            return
        with trio.move_on_after(_TEARDOWN_TIMEOUT, shield=True):
            try:
                for command in (Command.TREE_DISCONNECT, Command.LOGOFF):
                    await transport.exchange([Request(command, _TEARDOWN_BODY)])
            except (Disconnected, ProtocolError) as failed:
                log.debug("teardown: %s", failed)
        transport.fail(Disconnected("logged off"))
