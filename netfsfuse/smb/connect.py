"""A share of an SMB server, from the configuration of a mount to the connection's end."""

from __future__ import annotations

from typing import NamedTuple

from netfsfuse.config import MountConfig
from netfsfuse.smb.session.dialler import Dialler
from netfsfuse.smb.session.session import Session
from netfsfuse.smb.share.namespace import SmbNamespace
from netfsfuse.stats import ServerStats
from netfsfuse.surroundings import follow_network, look_for_sleep
from netfsfuse.tasks import ServiceNursery

LEASE_TRUST = 1.0
"""Seconds for which a lease alone stands for a file: the server's own users break none."""


class ShareLimits(NamedTuple):
    """Bytes that the server sends, and takes, of a file at once."""

    max_read: int
    max_write: int


class SmbShare:
    """The share that ``config`` names. Nothing is asked before :meth:`connect`. ``nursery`` owns
    the tasks of its connections; ``namespace`` is what is on it, for vfs."""

    def __init__(self, config: MountConfig, *, nursery: ServiceNursery, stats: ServerStats) -> None:
        self.is_write_protected = False
        """Whether the server lets this user write nowhere in it, as it said at :meth:`connect`."""
        self._nursery = nursery
        self._session = Session(Dialler(config.server, stats=stats), nursery=nursery)
        self.namespace = SmbNamespace(
            self._session,
            subdir=config.server.subdir,
            mfsymlinks=config.shown.mfsymlinks,
            lease_trust=min(config.trust.acregmax, LEASE_TRUST),
        )

    async def connect(self) -> ShareLimits:
        """Connect and log in. Raises MountError, one line for the user. :meth:`aclose` is due
        whatever comes of it."""
        established = await self._session.connect()
        self._nursery.keep_running(follow_network, self._session.network_changed)
        self._nursery.keep_running(look_for_sleep, self._session.look_for_sleep)
        self.is_write_protected = not established.writable
        return ShareLimits(established.max_read, established.max_write)

    def read_capacity(self) -> int:
        """Bytes of reads that may be under way at once. Changes as the server grants credits; at
        least 64 KiB."""
        return self._session.read_capacity()

    def write_capacity(self) -> int:
        """The same of writes."""
        return self._session.write_capacity()

    def credentials_changed(self) -> None:
        """A login that was refused may be let in by now: it is tried again at once."""
        self._session.credentials_changed()

    async def aclose(self) -> None:
        """Log off, politely but briefly, and end all connections. Idempotent."""
        await self._session.aclose()
