"""What can go wrong with a cache, and what an ``OSError`` of the filesystem means for it.

A caller needs four answers: may this directory be used at all, is there room, is the cache still
alive, or did just this one call fail. Imports nothing.
"""

from __future__ import annotations

import errno
from collections.abc import Iterator
from contextlib import contextmanager


class CacheError(Exception):
    """Base. On its own: this call failed and the cache as a whole may be fine (EMFILE, EFBIG)."""


class CacheUnusable(CacheError):
    """The directory cannot hold a cache. The message is one line for the user."""


class CacheBusy(CacheUnusable):
    """A process that knows another format has the directory."""


class NoSpace(CacheError):
    """Nothing can be stored now (ENOSPC, EDQUOT, EROFS). What is stored can still be read."""


class CacheDead(CacheError):
    """The filesystem below failed (EIO) or is gone: leave the cache alone for a while."""


_NO_SPACE = frozenset({errno.ENOSPC, errno.EDQUOT, errno.EROFS})
_DEAD = frozenset(
    {errno.EIO, errno.EUCLEAN, errno.ENODEV, errno.ENXIO, errno.ESTALE}
    | {errno.ENOTCONN, errno.EBADF, errno.ESHUTDOWN}
)


def cache_error(error: OSError, doing: str) -> CacheError:
    """The class of this tree that ``error`` belongs to, with a message naming what was done."""
    message = f"{doing}: {error.strerror or error}"
    if error.errno in _NO_SPACE:
        return NoSpace(message)
    if error.errno in _DEAD:
        return CacheDead(message)
    return CacheError(message)


@contextmanager
def translated(doing: str) -> Iterator[None]:
    """Turn an ``OSError`` of the body into the :class:`CacheError` that it means."""
    try:
        yield
    except OSError as error:
        raise cache_error(error, doing) from error
