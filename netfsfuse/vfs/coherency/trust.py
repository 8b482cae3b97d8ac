"""May this be answered without asking the server? PURE, clock passed in, nothing waited for.

Each function returns its answer and the :class:`Reason` for it. What the server has told of a
directory is in its ``Watched``, what was listed in its ``Folder``, what is known of a file or
directory in its ``Inode``; ``lifetime`` is what the mount believes attributes or names for, in
seconds, 0 for not at all. ``mode`` and ``nolease`` are the mount's.

In the table each cell is the reason. ``watch``, ``lifetime`` and ``loose`` mean that the answer is
known, every other that the server is asked. Of the names, those that are there and those that are
not (absence) differ: the kernel is to believe an absence for a whole lifetime more. ``none`` begins
no watch: its column says what a watch would count for, were there one.

==========  ==========================  =========  =========  =========  =========
question    situation                   strict     loose      none       nolease
==========  ==========================  =========  =========  =========  =========
attributes  watch                       watch      watch      watch      watch
attributes  watch, lifetime             watch      watch      watch      watch
attributes  lifetime                    lifetime   lifetime   lifetime   lifetime
attributes  neither                     expired    expired    expired    expired
attributes  own change                  changed    changed    changed    changed
attributes  strange name told           changed    changed    changed    changed
attributes  watch begun later           expired    expired    expired    expired
attributes  watch asked long ago        expired    expired    expired    expired
attributes  moved                       expired    expired    expired    expired
attributes  followed link               expired    expired    expired    expired
attributes  retired                     expired    expired    expired    expired
opens       watch                       watch      loose      watch      nolease
opens       watch, lifetime             watch      loose      watch      nolease
opens       lifetime                    unwatched  loose      unwatched  nolease
opens       neither                     unwatched  unwatched  unwatched  nolease
opens       own change                  changed    changed    changed    nolease
opens       strange name told           changed    changed    changed    nolease
opens       other change, a moment ago  busy       loose      busy       nolease
opens       watch begun later           unwatched  unwatched  unwatched  nolease
opens       watch asked long ago        unwatched  unwatched  unwatched  nolease
opens       moved                       astray     astray     astray     nolease
opens       followed link               followed   followed   followed   nolease
==========  ==========================  =========  =========  =========  =========
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

from netfsfuse.config import TrustConfig
from netfsfuse.types import FileAttr, ServerTime, coherency_of, same_content
from netfsfuse.vfs.coherency.reason import BELIEVED, Reason
from netfsfuse.vfs.inodes.directory import Folder, Watched
from netfsfuse.vfs.inodes.identity import Sight, is_settled, racy_for
from netfsfuse.vfs.inodes.inodes import Inode

__all__ = ["BELIEVED", "Known", "Missing", "Reason"]


@dataclass(frozen=True, slots=True)
class Missing:
    """The directory holds no such name."""


@dataclass(frozen=True, slots=True)
class Known:
    """The directory holds the name, with ``attr`` as of ``asked``."""

    attr: FileAttr
    asked: float


def lifetime_of(attr: FileAttr, trust: TrustConfig) -> float:
    """Seconds for which what was asked of a file or directory is believed."""
    return trust.acdirmax if attr.is_directory else trust.acregmax


def has_watch(inode: Inode) -> bool:
    """Whether the server tells of changes in the inode's directory."""
    watched = None if inode.parent is None else inode.parent.watched
    return watched is not None and watched.lives


def _watch(inode: Inode, now: float, lifetime: float) -> Reason:
    """WATCH where a change since the inode was asked for would have been told, and none was."""
    asked = inode.known_at
    if lifetime <= 0:
        return Reason.DISBELIEVED
    if inode.astray:
        return Reason.ASTRAY
    if inode.linked:
        return Reason.FOLLOWED
    if (parent := inode.parent) is not None:
        watched = parent.watched
        if watched is None or not watched.speaks_for(asked, now):
            return Reason.UNWATCHED
        if not watched.unchanged(inode.name, asked):
            return Reason.CHANGED
    if not inode.attr.is_directory:
        return Reason.WATCH
    # A directory's times are changed by what happens in it, of which its parent is not told.
    own = inode.watched
    if own is None or not own.speaks_for(asked, now):
        return Reason.UNWATCHED
    return Reason.WATCH if own.names_unchanged(asked) else Reason.CHANGED


def attributes(inode: Inode, now: float, lifetime: float) -> tuple[float, Reason]:
    """Seconds for which the inode's attributes are believed from now on, 0 for none."""
    parent = inode.parent
    if parent is not None and (watched := parent.watched) is not None:
        if not watched.unchanged(inode.name, inode.known_at):
            return 0.0, Reason.CHANGED
        if _watch(inode, now, lifetime) is Reason.WATCH:
            return lifetime, Reason.WATCH
    left = inode.attr_until - now
    return (left, Reason.LIFETIME) if left > 0 else (0.0, Reason.EXPIRED)


def opens(inode: Inode, now: float, trust: TrustConfig) -> tuple[bool, Reason]:
    """Whether an open may do without the server: nothing can have changed, as far as can be told.
    In ``loose`` also within the lifetime of the attributes."""
    lifetime = lifetime_of(inode.attr, trust)
    if trust.mode == "loose" and attributes(inode, now, lifetime)[0] > 0:
        return True, Reason.LOOSE
    if not trust.unasked:
        return False, Reason.NOLEASE
    if (why := _watch(inode, now, lifetime)) is not Reason.WATCH:
        return False, why
    watched = None if inode.parent is None else inode.parent.watched
    if watched is None:
        return False, Reason.UNWATCHED
    if not watched.is_calm(now):
        return False, Reason.BUSY
    if not watched.hears_of_all_since(inode.known_at):
        return False, Reason.STRANGE
    return True, Reason.WATCH


def listing(
    folder: Folder | None,
    watched: Watched | None,
    now: float,
    lifetime: float,
    *,
    rewound: bool = False,
) -> tuple[bool, Reason]:
    """Whether ``folder`` may be shown to a reader that lists the directory now. A reader that has
    ``rewound`` wants it as it is now, not as it was less than a lifetime ago."""
    if folder is None:
        return False, Reason.UNLISTED
    if watched is not None:
        if not watched.names_unchanged(folder.asked):
            return False, Reason.CHANGED
        if watched.speaks_for(folder.asked, now):
            return True, Reason.WATCH
    if rewound:
        return False, Reason.UNWATCHED
    if now < folder.asked + lifetime:
        return True, Reason.LIFETIME
    return False, Reason.EXPIRED


def name(
    folder: Folder, watched: Watched | None, name: str, now: float, lifetime: float
) -> tuple[Known | Missing | None, Reason]:
    """What is believed of ``name``; None where the server must be asked."""
    if folder.is_doubted(name):
        return None, Reason.DOUBTED
    attr = folder.attrs.get(name)
    if attr is None:
        return _absence(folder, watched, name, now)
    if watched is not None:
        if not watched.unchanged(name, folder.asked):
            return None, Reason.CHANGED
        if watched.speaks_for(folder.asked, now):
            return Known(attr, folder.asked), Reason.WATCH
    if now < folder.asked + lifetime:
        return Known(attr, folder.asked), Reason.LIFETIME
    return None, Reason.EXPIRED


def _absence(
    folder: Folder, watched: Watched | None, name: str, now: float
) -> tuple[Missing | None, Reason]:
    """Only by a watch: the kernel is to believe it for a whole lifetime more."""
    if watched is None or not watched.speaks_for(folder.asked, now):
        return None, Reason.UNWATCHED
    if not watched.is_calm(now):
        return None, Reason.BUSY
    if not watched.names_unchanged(folder.asked):
        return None, Reason.CHANGED
    return (None, Reason.UNLISTED) if folder.holds(name) else (Missing(), Reason.WATCH)


def fetched(
    watched: Watched | None, name: str | None, asked: float, now: float
) -> tuple[bool, Reason]:
    """Whether what was ``asked`` of a file before its open is true of it now. Without a ``name``:
    whether it may be, of the files that were listed then, and is worth fetching."""
    if watched is None or not watched.speaks_for(asked, now):
        return False, Reason.UNWATCHED
    if not watched.is_calm(now):
        return False, Reason.BUSY
    if name is not None and not watched.unchanged(name, asked):
        return False, Reason.CHANGED
    return True, Reason.WATCH


def described(
    found: Known, inode: Inode | None, now: float, lifetime: float
) -> tuple[bool, Reason]:
    """Whether a name that is ``found``, and leads to ``inode`` if that is known, may be answered
    with the attributes that were listed. A directory's are changed by what happens in it, of which
    the watch of its parent tells nothing."""
    if inode is not None and inode.linked:
        return False, Reason.FOLLOWED
    if not found.attr.is_directory:
        return True, Reason.LISTED
    if now < found.asked + lifetime:
        return True, Reason.LIFETIME
    return False, Reason.EXPIRED


def former_name(
    directory: Inode, known_as: str, now: float, trust: TrustConfig
) -> tuple[Known | None, Reason]:
    """What ``known_as`` leads to now, a name through which the kernel may come to an inode that was
    found elsewhere since; None where the server must be asked."""
    folder, watched = directory.folder, directory.watched
    if not trust.unasked:
        return None, Reason.NOLEASE
    if folder is None:
        return None, Reason.UNLISTED
    if watched is None:
        return None, Reason.UNWATCHED
    if not watched.is_calm(now):
        return None, Reason.BUSY
    found, why = name(folder, watched, known_as, now, 0.0)
    if isinstance(found, Missing):
        return None, Reason.UNLISTED
    return found, why


def relisted(inode: Inode, now: float, lifetime: float) -> tuple[Known | None, Reason]:
    """What a listing says of an inode that was asked for before that listing was begun; CHANGED
    where a listing begun now would say it."""
    parent = inode.parent
    if parent is None or parent.folder is None:
        return None, Reason.UNLISTED
    folder, watched = parent.folder, parent.watched
    if watched is None:
        return None, Reason.UNWATCHED
    if not watched.unchanged(inode.name, folder.asked):
        return None, Reason.CHANGED
    if folder.asked <= inode.known_at:
        return None, Reason.OLDER
    found, why = name(folder, watched, inode.name, now, lifetime)
    if isinstance(found, Missing):
        return None, Reason.UNLISTED
    return found, why


def lease(inode: Inode, *, leasing: bool) -> tuple[bool, Reason]:
    """Whether a handle that is open under a lease may stand for the server at an open. A lease is
    not broken by what the server's own users do, so a watch comes first where there is one:
    what it has no answer for is asked. ``leasing``: the server grants leases to this mount."""
    if not leasing:
        return False, Reason.NOLEASE
    if has_watch(inode):
        return False, Reason.WATCHED
    return True, Reason.LEASE


def opened_before(
    known: FileAttr | None, attr: FileAttr, *, same_place: bool
) -> tuple[bool, Reason]:
    """Whether the server has let us open what ``attr`` describes. ``known``: what the file was when
    it was opened last, ``same_place``: whether that was by the name by which it is meant now."""
    if known is None:
        return False, Reason.UNOPENED
    if not same_place:
        return False, Reason.ELSEWHERE
    if not same_content(coherency_of(known), attr):
        return False, Reason.CHANGED
    return True, Reason.OPENED


def settled(
    inode: Inode,
    attr: FileAttr,
    asked: float,
    now: float,
    server_time: Callable[[], ServerTime],
) -> tuple[bool, Reason]:
    """Whether the inode's file, found as ``attr``, had been left alone for a while when the server
    was ``asked`` for it (``now``: whether it has been until now). If not, it may change once more
    within the same tick of the server's clock, and what is read of it must not be kept.

    ``server_time`` tells the server's clock as of ``now``; it is called only where our own clock
    does not tell.
    """
    known, sight = inode.attr, Sight()
    if (attr.write, attr.change, attr.size) == (known.write, known.change, known.size):
        lasting = asked - inode.same_since
        if lasting > racy_for(attr):  # so it is mostly, and no clock is needed
            return True, Reason.SETTLED
        sight = Sight(lasting, now - inode.moved_after)
    elif inode.same_since < math.inf:
        sight = Sight(moved=now - inode.known_at)
    if is_settled(attr, server_time(), sight, ago=now - asked):
        return True, Reason.SETTLED
    return False, Reason.RACY


def current(inode: Inode, opened_as: FileAttr) -> tuple[bool, Reason]:
    """Whether the inode's file has not changed since it was ``opened_as``, by all that was learned
    since: then what is kept of it may be read."""
    attr = inode.attr
    if attr is opened_as or same_content(coherency_of(opened_as), attr):
        return True, Reason.CURRENT
    return False, Reason.CHANGED
