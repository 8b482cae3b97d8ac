"""Looks at a connection now and then, and does what ``liveness`` says. One for each connection.

What the server said to be at (STATUS_PENDING) has a limit as well: after ``PENDING`` seconds the
caller that waits is told, and the request is cancelled. One that was cancelled and is not answered
within the idle deadline is ignored by the server: the connection is given up, with all that the
request holds.
"""

from __future__ import annotations

import fcntl
import math
import socket
import struct
import termios
from collections.abc import Callable, Mapping

import trio

from netfsfuse.errors import Disconnected
from netfsfuse.smb.connection.exchange import Pending
from netfsfuse.smb.connection.intake import Intake
from netfsfuse.smb.connection.liveness import Diagnosis, Facts, Patience, Pulse, judge
from netfsfuse.smb.connection.outbox import Outbox
from netfsfuse.smb.wire.header import Command

PENDING = 30.0
"""Seconds, as long as any call on the mount may take."""

_UNWELL = 0.2
"""Seconds after which to look again at what was not LIVE: the sooner it is so again the better."""

_LAST_ACK_RECEIVED, _BYTES_ACKED, _INFO_SIZE = 56, 120, 128
"""Where in Linux' struct tcp_info stand the milliseconds since an acknowledgement came last, and
the bytes of ours that the peer's TCP has."""

_BULK = 64 * 1024
"""Bytes of ours from which on it is a sign of life that the peer takes some. A small request is
acknowledged by a machine whose server is stopped."""

_ACKNOWLEDGES = 3000
"""Milliseconds: a probe of a full window is sent each second at the latest (``TCP_RTO_MAX_MS``)."""


class Lookout:
    """``pending``: the transport's table, in the order in which it was sent. ``send_echo`` sends
    one if a credit is at hand. ``give_up`` ends the waiting for an entry of the table. ``tell``
    hears of each change of ``pulse``. ``silent_since``: the beginning of the silence that this is
    judged by (trio clock)."""

    def __init__(
        self,
        sock: socket.socket,
        pending: Mapping[int, Pending],
        intake: Intake,
        outbox: Outbox,
        patience: Patience,
        send_echo: Callable[[], bool],
        give_up: Callable[[int, Pending], None],
    ) -> None:
        self.pulse = Pulse.LIVE
        self.silent_since = trio.current_time()
        self.tell: Callable[[], None] = lambda: None
        self.beside = 0
        self._sock = sock
        self._pending = pending
        self._intake = intake
        self._outbox = outbox
        self._patience = patience
        self._send_echo = send_echo
        self._give_up = give_up
        self._asked = trio.Event()
        self._kicked = trio.Event()
        self._echoed = -math.inf
        self._queue = 0  # bytes that the peer had not taken
        self._acked = 0
        self._taken_at = -math.inf

    @property
    def heard_at(self) -> float:
        """When a byte came last (trio clock)."""
        return self._intake.received_at

    @property
    def progress(self) -> int:
        """Bytes that came, or were taken where they waited, of anything but ECHOs and
        STATUS_PENDING, which are ``beside``."""
        return self._intake.received + self._outbox.taken - self.beside

    def asked(self) -> None:
        """Something was asked of the server."""
        self._asked.set()

    def heard(self, entry: Pending) -> None:
        """``entry`` is answered."""
        if entry.request.command is Command.ECHO and entry.since > self._echoed:
            self._echoed = entry.since
            self._kicked.set()

    def probe(self) -> None:
        """Something speaks against the connection: have the server say that it lives. Waits for
        nothing."""
        if all(entry.request.command is not Command.ECHO for entry in self._pending.values()):
            self._send_echo()
        self._kicked.set()

    async def run(self) -> None:
        """Watch until the connection is to be given up: raises Disconnected."""
        while True:
            now = trio.current_time()
            facts, until = self._facts(now)
            diagnosis = judge(facts, self._patience, now)
            if diagnosis.dead:
                raise Disconnected(diagnosis.dead)
            if self._obey(diagnosis):
                until = min(until, diagnosis.until)
            else:
                until = min(until, now + self._patience.overdue)
            if diagnosis.pulse is not Pulse.LIVE:
                until = min(until, now + _UNWELL)
            is_busy = facts.due is not None or facts.delayed is not None or diagnosis.echo
            with trio.move_on_at(until):
                await (self._kicked if is_busy else self._asked).wait()
            self._asked = trio.Event()
            if self._kicked.is_set():
                self._kicked = trio.Event()

    def _obey(self, diagnosis: Diagnosis) -> bool:
        """False where there was no credit for it."""
        if diagnosis.wake:
            self._intake.wake_on_any_byte()
        obeyed = not diagnosis.echo or self._send_echo()
        self.silent_since = diagnosis.silent_since
        if diagnosis.pulse is not self.pulse:
            self.pulse = diagnosis.pulse
            self.tell()
        return obeyed

    def _facts(self, now: float) -> tuple[Facts, float]:
        """What the connection looks like, and when a PENDING request has had its time."""
        due = delayed = echo = None
        until = math.inf
        held_up: set[int] = set()  # compounds of which one request is PENDING, which holds the rest
        waiting = False  # for the socket
        for message_id, entry in list(self._pending.items()):
            if entry.is_due:
                if entry.since == math.inf:
                    waiting = True
                elif entry.request.command is Command.ECHO:
                    echo = entry.since if echo is None else echo
                elif due is None and id(entry.together) not in held_up:
                    due = entry.since
                continue
            if entry.interim:
                held_up.add(id(entry.together))
            if not entry.request.standing:
                until = min(until, self._pending_until(message_id, entry, now))
                delayed = entry.since if delayed is None else delayed
        taken_at, queued = self._taken(now)
        unsent = waiting and due is None
        if unsent:
            due = self._outbox.moved_at
        facts = Facts(
            self._intake.received_at, taken_at, due, delayed, echo, self._echoed, unsent, queued
        )
        return facts, until

    def _taken(self, now: float) -> tuple[float, bool]:
        """When the peer took some of many bytes last, and whether many wait for a peer whose TCP
        acknowledges."""
        queue, acked, silence = self._traffic()
        if self._queue >= _BULK and (acked > self._acked or queue < self._queue):
            self._taken_at = now
        self._queue, self._acked = queue, acked
        if len(self._outbox):
            self._taken_at = max(self._taken_at, self._outbox.moved_at)
        return self._taken_at, queue >= _BULK and silence < _ACKNOWLEDGES

    def _traffic(self) -> tuple[int, int, int]:
        """Bytes that the peer has not taken; that it took so far, 0 where that is not to be had;
        milliseconds since it acknowledged something."""
        try:
            (queue,) = struct.unpack("i", fcntl.ioctl(self._sock, termios.TIOCOUTQ, bytes(4)))
            info = self._sock.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, _INFO_SIZE)
            (silence,) = struct.unpack_from("=I", info, _LAST_ACK_RECEIVED)
            (acked,) = struct.unpack_from("=Q", info, _BYTES_ACKED)
        except (OSError, struct.error):
            return 0, 0, _ACKNOWLEDGES
        return queue, acked, silence

    def _pending_until(self, message_id: int, entry: Pending, now: float) -> float:
        if entry.cancelled_at is None and now >= entry.since + PENDING:
            self._give_up(message_id, entry)
        if entry.cancelled_at is None:
            return entry.since + PENDING
        until = entry.cancelled_at + self._patience.idle_deadline
        if now >= until:
            raise Disconnected(
                f"no answer to a cancelled {entry.request.command.name} "
                f"for {self._patience.idle_deadline:g} s"
            )
        return until
