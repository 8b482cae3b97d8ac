"""The handles of one open file on further connections, owned by its handle on the primary.

Each is opened in the background when a read would go there, and must be the same file: while the
primary's handle is open the server gives the FileId to no other, and size and times must agree as
well. A channel where it is refused, or leads elsewhere, is not used for this file.

A file that is open for writing has none: they would not be part of its lease, and so break it.

They are closed with the primary's handle, and before that is closed: as long as any handle of a
file is open Samba shows its times as they were (see ``openfiles``).
"""

from __future__ import annotations

import logging

import trio

from netfsfuse.errors import Disconnected, NetfsError, ProtocolError
from netfsfuse.netfs.demand import Demand
from netfsfuse.smb import status
from netfsfuse.smb.connection.credit_gate import Unaffordable
from netfsfuse.smb.connection.exchange import Reply, Request
from netfsfuse.smb.connection.transport import Transport
from netfsfuse.smb.session.channels import Channels, Lane
from netfsfuse.smb.session.session import Session
from netfsfuse.smb.share.handle import ServerHandle
from netfsfuse.types import coherency_of, same_content

log = logging.getLogger(__name__)

EXTRA_HANDLE_MIN_BYTES = 4 << 20
"""Bytes read from a file before it gets further handles: two messages each, on the server a file
opened and closed."""


class _Sibling:
    """``handle`` is None before it is open, and for good if it cannot be."""

    __slots__ = ("handle", "settled")

    def __init__(self) -> None:
        self.handle: ServerHandle | None = None
        self.settled = trio.Event()


class Siblings:
    """The further handles of the file that ``handle``, the primary's, is open on."""

    def __init__(self, handle: ServerHandle, channels: Channels[Session]) -> None:
        self._handle = handle
        self._channels = channels
        self._by_lane: dict[Lane[Session], _Sibling] = {}
        self._read = 0
        self._closed = False

    def choose(self, length: int) -> tuple[Lane[Session], ServerHandle | None]:
        """Where a read of ``length`` bytes shall go: the lane with the least under way on which
        there is a handle; None for the primary's own.
        """
        self._read += length
        primary = self._channels.primary
        if self._read < EXTRA_HANDLE_MIN_BYTES or self._closed:
            return primary, None
        for lane in self._channels.lanes():
            if lane.outstanding >= primary.outstanding:
                break
            sibling = self._by_lane.get(lane)
            if sibling is None:
                self._begin(lane)
            elif sibling.handle is not None and sibling.handle.number == lane.session.number:
                return lane, sibling.handle
        return primary, None

    def _begin(self, lane: Lane[Session]) -> None:
        for gone in [old for old in self._by_lane if old.live is None]:
            del self._by_lane[gone]  # its handles died with it
        self._by_lane[lane] = sibling = _Sibling()
        self._channels.nursery.start_soon(self._open, lane, sibling)

    async def _open(self, lane: Lane[Session], sibling: _Sibling) -> None:
        """The task that opens one."""
        original = self._handle
        try:
            handle, attr = await ServerHandle.open(lane.session, original.name)
            known = coherency_of(original.attr)
            same = handle.volume_id == original.volume_id and same_content(known, attr)
            if same and known.file_id and not self._closed and not original.is_lost:
                sibling.handle = handle
            else:
                await handle.close(lane.session)
        except NetfsError as failed:
            log.debug("%r on a further connection: %s", original.name, failed)
        finally:
            sibling.settled.set()

    async def aclose(self) -> None:
        """Close them all. When this returns the server has closed them. Never raises."""
        self._closed = True
        async with trio.open_nursery() as nursery:
            for lane, sibling in self._by_lane.items():
                nursery.start_soon(self._close, lane, sibling)
        self._by_lane.clear()

    async def _close(self, lane: Lane[Session], sibling: _Sibling) -> None:
        if lane.live is not None:
            await sibling.settled.wait()  # bounded by the caller, who closes the primary's
        if sibling.handle is not None:
            await sibling.handle.close(lane.session)


async def read_beside(
    transport: Transport, handle: ServerHandle, request: Request, demand: Demand
) -> Reply | None:
    """The reply to ``request``, a READ by ``handle`` on a further connection; None if it is to be
    sent on the primary instead. What the server has closed is lost."""
    try:
        (reply,) = await transport.exchange([request], demand)
    except (Disconnected, ProtocolError, Unaffordable):
        return None
    if reply.status in (status.SUCCESS, status.END_OF_FILE):
        return reply
    if reply.status == status.FILE_CLOSED:
        handle.lose()
    return None
