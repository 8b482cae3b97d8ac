"""Space on the server's volume, as ``df`` shows it."""

from __future__ import annotations

import math

import trio

from netfsfuse.types import VolumeStat
from netfsfuse.vfs.coherency.stand_in import StandIn
from netfsfuse.vfs.ops import Namespace
from netfsfuse.vfs.tree.attributes import ROOT_TIMEOUT
from netfsfuse.vfs.tree.own_changes import OwnChanges

VOLUME_TRUST = 15.0
"""Seconds: each ``find`` and ``grep -r`` asks for the space of what it goes through."""

VOLUME_TRUST_CHANGED = 1.0
"""The same where something was changed here since it was asked for."""


class VolumeSpace:
    """Asks, and keeps the answer if ``keeping``."""

    def __init__(
        self, namespace: Namespace, own: OwnChanges, stand_in: StandIn, *, keeping: bool
    ) -> None:
        self._namespace = namespace
        self._own = own
        self._stand_in = stand_in
        self._keeping = keeping
        self._volume: VolumeStat | None = None
        self._asked = -math.inf

    async def stat(self) -> VolumeStat:
        """The space; the last known while the server cannot be reached, and for ``VOLUME_TRUST``,
        or ``VOLUME_TRUST_CHANGED``. Raises NetfsError."""
        asked = trio.current_time()
        if self._volume is not None and self._keeping:
            changed = self._own.changed_at >= self._asked
            if asked - self._asked < (VOLUME_TRUST_CHANGED if changed else VOLUME_TRUST):
                return self._volume
        limit = ROOT_TIMEOUT if self._volume is not None else math.inf
        return await self._stand_in.ask(self._ask, self._remembered, limit=limit)

    async def _ask(self) -> VolumeStat:
        asked = trio.current_time()
        self._volume = await self._namespace.stat_volume()
        self._asked = asked
        return self._volume

    async def _remembered(self) -> VolumeStat | None:
        return self._volume
