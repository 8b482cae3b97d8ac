"""One folio sent, and what it is when the server has it."""

from __future__ import annotations

import logging
from collections.abc import Callable

import trio

from netfsfuse.errors import NetfsError, ProtocolError
from netfsfuse.netfs.demand import Demand
from netfsfuse.netfs.io.contents import Contents
from netfsfuse.netfs.memory.folio import Folio
from netfsfuse.netfs.memory.pool import BufferPool
from netfsfuse.netfs.ops import WritableFile
from netfsfuse.netfs.write.dirty import DirtyFolio
from netfsfuse.netfs.write.outlet import Outlet
from netfsfuse.types import CACHE_BLOCK

log = logging.getLogger(__name__)


async def send_folio(
    file: WritableFile,
    folio: DirtyFolio,
    outlet: Outlet,
    demand: Demand,
    taken: Callable[[int], None],
) -> None:
    """Write a SENDING folio to the server: one request, and others for what it did not take.
    ``taken`` is called for each answer and says up to where the server has it. Raises the
    ``NetfsError`` of the first that fails."""
    stats, link = outlet.stats, outlet.link
    at, end = folio.start, folio.end
    while at < end:
        length = end - at
        flight = link.started(trio.current_time(), length)
        stats.note_request(length)
        try:
            count = await file.write(at, length, folio.buffer, at - folio.base, demand=demand)
        except BaseException:
            link.abandoned(flight)
            raise
        finally:
            stats.in_flight -= 1
        link.finished(flight, trio.current_time(), count)
        if not 0 < count <= length:
            raise ProtocolError(f"the server took {count} of {length} bytes")
        at += count
        taken(at)


def become_clean(contents: Contents, pool: BufferPool, folio: DirtyFolio) -> Folio | None:
    """What the server has now, as a CLEAN, ``busy`` folio of the mapping, as far as whole blocks
    are there; it takes over the buffer's reference. None where nothing of it may be kept."""
    if not contents.live or folio.buffer.overrun or folio.start != folio.base:
        return None
    end = folio.end
    if end != contents.i_size:
        end -= end % CACHE_BLOCK
    if end <= folio.base:
        return None
    clean = Folio(folio.base, end - folio.base, folio.buffer)
    clean.filled(clean.length)
    clean.busy = True
    clean.buffer.hold()
    contents.mapping.attach(clean)
    pool.touch(clean, consumed=True)
    return clean


def note_changed(contents: Contents, start: int, end: int) -> None:
    """The server's file has other bytes in ``[start, end)`` now."""
    contents.mapping.outdate(start, end)
    if end > contents.i_size:
        contents.resize(end, keeps_cache=True)


def log_lost(name: str, folio: DirtyFolio, error: NetfsError) -> None:
    """One line for each range that is given up."""
    log.error(
        "%s: bytes %d to %d could not be written and are lost: %s: %s",
        name,
        folio.start,
        folio.end,
        type(error).__name__,
        error,
        extra={"state": (name, folio.start)},
    )
