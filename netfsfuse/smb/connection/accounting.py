"""What one connection adds to the mount's figures: messages, reads, credits, round trips."""

from __future__ import annotations

import trio

from netfsfuse.smb.connection.exchange import Pending, Reply, Request
from netfsfuse.smb.wire.header import Command
from netfsfuse.stats import ServerStats

_NAMES = {command: command.name.lower() for command in Command}  # as they are counted

_ROUND_TRIP_WEIGHT = 0.125  # of a new sample, as TCP smooths its own (RFC 6298)


class Accounting:
    """Of one connection, in ``stats``, which are those of all."""

    def __init__(self, stats: ServerStats) -> None:
        self._stats = stats
        self._shown_credits = 0

    def sent(self, request: Request) -> None:
        """``request`` is in the pending table."""
        stats = self._stats
        name = _NAMES[request.command]
        stats.messages[name] = stats.messages.get(name, 0) + 1
        if request.command is Command.READ:
            stats.reads += 1
            stats.in_flight += 1
            stats.in_flight_peak = max(stats.in_flight_peak, stats.in_flight)
        elif request.command is Command.WRITE:
            stats.writes += 1

    def cancelled(self) -> None:
        """A CANCEL is sent."""
        self._stats.messages["cancel"] = self._stats.messages.get("cancel", 0) + 1

    def left(self, request: Request) -> None:
        """``request`` has left the pending table."""
        if request.command is Command.READ:
            self._stats.in_flight -= 1

    def answered(self, entry: Pending, reply: Reply) -> None:
        """``reply`` is the final one to ``entry``. A READ's and a WRITE's time is its payload's,
        and no round trip; nor is what the server takes its time for."""
        stats, request = self._stats, entry.request
        if request.source is not None:
            stats.bytes_written += reply.transferred
            return
        stats.bytes += reply.transferred
        if request.sink is None and entry.is_due:
            sample = (trio.current_time() - entry.sent_at) * 1000
            known = stats.round_trip_ms
            stats.round_trip_ms = known + _ROUND_TRIP_WEIGHT * (sample - known) if known else sample

    def show_credits(self, credits: int) -> None:
        """``credits`` are on hand now: in the sum over all connections."""
        self._stats.credits += credits - self._shown_credits
        self._shown_credits = credits
