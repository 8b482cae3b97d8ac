"""More TCP connections to one share, for reads only.

The session's own connection, the primary, carries everything else, and reads as long as it is
alone. When it is saturated (``saturation``) another connection is opened beside it, with a session
and a tree of its own, up to ``max_channels`` in all, and reads go to the one with the least under
way. One that carried nothing for ``IDLE`` seconds is closed again.

A file read through a channel needs a handle there (``share/siblings``). What goes wrong on a
channel is no reader's error: the read is done on the primary, and the channel opened again some
time later. A channel does not outlive the primary connection beside which it was opened: so when
that is lost, and the files on it may be others by the time it is back, no handle of theirs is left
on the server.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Generic, Protocol, TypeVar

import trio

from netfsfuse.errors import Disconnected, MountError, NetfsError
from netfsfuse.smb.connection.credits import CREDIT_BYTES
from netfsfuse.smb.connection.transport import Transport
from netfsfuse.smb.session.saturation import Saturation, busy_from
from netfsfuse.tasks import ServiceNursery

log = logging.getLogger(__name__)

IDLE = 15.0
"""Seconds without a read after which a channel is closed."""

RETRY = 30.0
"""Seconds after which a channel that could not be opened, or was lost, is tried again."""


class Member(Protocol):
    """A session with one connection, the primary's or a channel's."""

    @property
    def number(self) -> int:
        """Of its connection: another one each time that it connects."""
        ...

    @property
    def live(self) -> Transport | None:
        """Its connection, if there is one now."""
        ...

    async def connect(self) -> object:
        """Make the connection. Raises MountError."""
        ...

    async def aclose(self) -> None:
        """End it. Bounded in time."""
        ...


SessionT = TypeVar("SessionT", bound=Member)


class Lane(Generic[SessionT]):
    """What reads on one connection are under way: ``outstanding`` bytes; ``used`` last (trio)."""

    __slots__ = ("outstanding", "session", "used")

    def __init__(self, session: SessionT) -> None:
        self.session = session
        self.outstanding = 0
        self.used = trio.current_time()

    @property
    def live(self) -> Transport | None:
        """Its connection, if there is one now."""
        return self.session.live


class Channels(Generic[SessionT]):
    """The lanes of one share. ``primary`` is the session; ``make`` gives a session for one channel,
    which never connects again by itself. ``nursery`` owns the tasks that keep channels open.
    """

    def __init__(
        self,
        primary: SessionT,
        make: Callable[[], SessionT],
        *,
        most: int,
        nursery: ServiceNursery,
    ) -> None:
        self.primary = Lane(primary)
        self._make = make
        self.nursery = nursery
        self._most = most
        self._lanes: list[Lane[SessionT]] = []
        self._opening = 0
        self._not_before = 0.0
        self._saturation = Saturation()

    @property
    def wanted(self) -> bool:
        """Whether there may ever be more than one connection."""
        return self._most > 1

    def lanes(self) -> list[Lane[SessionT]]:
        """The channels beside the primary that are connected now, the least used first."""
        live = [lane for lane in self._lanes if lane.live is not None]
        return sorted(live, key=lambda lane: lane.outstanding)

    def read_capacity(self) -> int:
        """Bytes of reads that the credits now held allow at once, on all connections."""
        lanes = (self.primary, *self._lanes)
        held = sum(lane.live.read_capacity for lane in lanes if lane.live is not None)
        return max(held, CREDIT_BYTES)

    @contextmanager
    def reading(self, length: int) -> Iterator[None]:
        """Around each read of ``length`` bytes, whatever lanes it takes."""
        now = trio.current_time()
        threshold = busy_from(1 + len(self._lanes), self.read_capacity())
        self._saturation.began(length, now, threshold)
        if self._may_open(now):
            self._saturation.restart(now)
            self._opening += 1
            self.nursery.start_soon(self._keep)
        try:
            yield
        finally:
            self._saturation.ended(length, threshold)

    @contextmanager
    def on(self, lane: Lane[SessionT], length: int) -> Iterator[None]:
        """Around each read of ``length`` bytes on ``lane``."""
        lane.outstanding += length
        try:
            yield
        finally:
            lane.outstanding -= length
            lane.used = trio.current_time()

    def _may_open(self, now: float) -> bool:
        return (
            not self._opening
            and 1 + len(self._lanes) < self._most
            and now >= self._not_before
            and self._saturation.is_reached(now)
        )

    async def _keep(self) -> None:
        """Open one channel and close it when it is idle."""
        session = self._make()
        lane = Lane(session)
        beside = self.primary.session.number
        try:
            try:
                await session.connect()
            finally:
                self._opening -= 1
            if self.primary.session.number != beside:
                raise Disconnected("the primary connection was lost meanwhile")
            lane.used = trio.current_time()
            self._lanes.append(lane)
            log.info("opened connection %d for reads", 1 + len(self._lanes))
            await self._in_use(lane)
            log.info("closing a connection that was idle")
        except Exception as failed:
            self._not_before = trio.current_time() + RETRY
            if not isinstance(failed, (MountError, NetfsError)):
                raise
            log.info("a further connection for reads: %s", failed)
        finally:
            if lane in self._lanes:
                self._lanes.remove(lane)
            with trio.CancelScope(shield=True):  # bounded by the session
                await session.aclose()

    async def _in_use(self, lane: Lane[SessionT]) -> None:
        """Return once ``lane`` has been idle for long enough. Raises Disconnected."""
        while True:
            transport = lane.live
            if transport is None:
                raise Disconnected("it was lost")
            if lane.outstanding:
                lane.used = trio.current_time()
            elif trio.current_time() >= lane.used + IDLE:
                return
            with trio.move_on_at(lane.used + IDLE):
                await transport.ended.wait()

    def drop(self) -> None:
        """The primary connection is gone: so are these."""
        for lane in self._lanes:
            if lane.live is not None:
                lane.live.fail(Disconnected("the primary connection was lost"))

    async def aclose(self) -> None:
        """Leave politely on all of them."""
        async with trio.open_nursery() as nursery:
            for lane in self._lanes:
                nursery.start_soon(lane.session.aclose)
