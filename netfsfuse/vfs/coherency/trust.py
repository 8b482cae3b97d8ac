"""May this be answered without asking the server? PURE, clock passed in, nothing waited for.

Each function returns its answer and the :class:`Reason` for it. What the server has told of a
directory is in its ``Watched``, what was listed in its ``Folder``, what is known of a file or
directory in its ``Inode``; ``lifetime`` is what the mount believes attributes or names for, in
seconds, 0 for not at all. ``mode`` and ``nolease`` are the mount's.

In the table each cell is the reason: one of ``BELIEVED``, or one for which the server is asked.
``none`` begins no watch: its column says what a watch would count for, were there one. Under
``nolease`` the server grants no lease. The questions are functions here and, those that a listing
may answer, in ``listed_names``: of ``name`` those that are there (names) and those that are not
(absence) differ, since the kernel is to believe an absence for a whole lifetime more. ``rewinds``
are of ``listing``, ``former`` is ``former_name``, ``opened`` is :func:`opened_before`. ``current``
comes from what was learned, by whatever question.

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
opens       new name made and changed   strange    loose      strange    nolease
opens       other change, a moment ago  busy       loose      busy       nolease
opens       watch begun later           unwatched  unwatched  unwatched  nolease
opens       watch asked long ago        unwatched  unwatched  unwatched  nolease
opens       moved                       astray     astray     astray     nolease
opens       followed link               followed   followed   followed   nolease
names       watch                       watch      watch      watch      watch
names       watch, lifetime             watch      watch      watch      watch
names       lifetime                    lifetime   lifetime   lifetime   lifetime
names       neither                     expired    expired    expired    expired
names       own change                  changed    changed    changed    changed
names       strange name told           changed    changed    changed    changed
names       other change, a moment ago  watch      watch      watch      watch
names       watch begun later           expired    expired    expired    expired
names       watch asked long ago        expired    expired    expired    expired
names       doubted                     doubted    doubted    doubted    doubted
absence     watch                       watch      watch      watch      watch
absence     lifetime                    unwatched  unwatched  unwatched  unwatched
absence     neither                     unwatched  unwatched  unwatched  unwatched
absence     name told                   changed    changed    changed    changed
absence     other change, a moment ago  busy       busy       busy       busy
absence     watch begun later           unwatched  unwatched  unwatched  unwatched
absence     in another case             unlisted   unlisted   unlisted   unlisted
listings    watch                       watch      watch      watch      watch
listings    lifetime                    lifetime   lifetime   lifetime   lifetime
listings    neither                     expired    expired    expired    expired
listings    name told                   changed    changed    changed    changed
listings    own change                  watch      watch      watch      watch
listings    watch begun later           expired    expired    expired    expired
listings    none kept                   unlisted   unlisted   unlisted   unlisted
rewinds     watch                       watch      watch      watch      watch
rewinds     lifetime                    unwatched  unwatched  unwatched  unwatched
rewinds     name told                   changed    changed    changed    changed
described   watch                       listed     listed     listed     listed
described   followed link               followed   followed   followed   followed
described   directory, lifetime         lifetime   lifetime   lifetime   lifetime
described   directory, neither          expired    expired    expired    expired
fetched     watch                       watch      watch      watch      watch
fetched     lifetime                    unwatched  unwatched  unwatched  unwatched
fetched     own change                  changed    changed    changed    changed
fetched     other change, a moment ago  busy       busy       busy       busy
fetched     watch begun later           unwatched  unwatched  unwatched  unwatched
former      watch                       watch      watch      watch      nolease
former      lifetime                    unwatched  unwatched  unwatched  nolease
former      own change                  changed    changed    changed    nolease
former      other change, a moment ago  busy       busy       busy       nolease
former      watch begun later           expired    expired    expired    nolease
former      none kept                   unlisted   unlisted   unlisted   nolease
former      gone from the listing       unlisted   unlisted   unlisted   nolease
relisted    listed since                watch      watch      watch      watch
relisted    watch                       older      older      older      older
relisted    own change                  changed    changed    changed    changed
relisted    lifetime                    unwatched  unwatched  unwatched  unwatched
relisted    none kept                   unlisted   unlisted   unlisted   unlisted
relisted    listed since, then gone     unlisted   unlisted   unlisted   unlisted
lease       watch                       watched    watched    watched    nolease
lease       neither                     lease      lease      lease      nolease
opened      opened as it is             opened     opened     opened     opened
opened      never opened                unopened   unopened   unopened   unopened
opened      opened by another name      elsewhere  elsewhere  elsewhere  elsewhere
opened      own change                  changed    changed    changed    changed
settled     seen for long               settled    settled    settled    settled
settled     old by the server's clock   settled    settled    settled    settled
settled     written this moment         racy       racy       racy       racy
current     opened as it is             current    current    current    current
current     own change                  changed    changed    changed    changed
==========  ==========================  =========  =========  =========  =========
"""

from __future__ import annotations

import math
from collections.abc import Callable

from netfsfuse.config import TrustConfig
from netfsfuse.types import FileAttr, ServerTime, coherency_of, same_content
from netfsfuse.vfs.coherency.reason import Reason
from netfsfuse.vfs.inodes.directory import Watched
from netfsfuse.vfs.inodes.identity import Sight, is_settled, racy_for
from netfsfuse.vfs.inodes.inodes import Inode


def lifetime_of(attr: FileAttr, trust: TrustConfig) -> float:
    """Seconds for which what was asked of a file or directory is believed."""
    return trust.acdirmax if attr.is_directory else trust.acregmax


def has_watch(inode: Inode) -> bool:
    """Whether the server tells of changes in the inode's directory."""
    watched = None if inode.parent is None else inode.parent.watched
    return watched is not None and watched.lives


def _watch(inode: Inode, now: float, lifetime: float, *, unchanged: bool = False) -> Reason:
    """WATCH where a change since the inode was asked for would have been told, and none was.
    ``unchanged``: it is known that none was told of its name."""
    asked = inode.known_at
    if lifetime <= 0:
        return Reason.DISBELIEVED
    if inode.astray:
        return Reason.ASTRAY
    if inode.linked:
        return Reason.FOLLOWED
    if (parent := inode.parent) is not None:
        watched = parent.watched
        if watched is None or not watched.covers(asked, now):
            return Reason.UNWATCHED
        if not unchanged and not watched.unchanged(inode.name, asked):
            return Reason.CHANGED
        if not watched.is_sure(inode.name, asked):
            return Reason.UNWATCHED
    if not inode.attr.is_directory:
        return Reason.WATCH
    # A directory's times are changed by what happens in it, of which its parent is not told.
    own = inode.watched
    if own is None or not own.covers(asked, now):
        return Reason.UNWATCHED
    return Reason.WATCH if own.names_unchanged(asked) else Reason.CHANGED


def attributes(inode: Inode, now: float, lifetime: float) -> tuple[float, Reason]:
    """Seconds for which the inode's attributes are believed from now on, 0 for none."""
    parent = inode.parent
    if parent is not None and (watched := parent.watched) is not None:
        if not watched.unchanged(inode.name, inode.known_at):
            return 0.0, Reason.CHANGED
        if _watch(inode, now, lifetime, unchanged=True) is Reason.WATCH:
            return lifetime, Reason.WATCH
    left = inode.attr_until - now
    return (left, Reason.LIFETIME) if left > 0 else (0.0, Reason.EXPIRED)


def opens(inode: Inode, now: float, trust: TrustConfig) -> tuple[bool, Reason]:
    """Whether an open may do without the server: nothing can have changed, as far as can be told.
    In ``loose`` also within the lifetime of the attributes."""
    lifetime = lifetime_of(inode.attr, trust)
    if trust.mode == "loose" and attributes(inode, now, lifetime)[0] > 0:
        return True, Reason.LOOSE
    if not trust.open_without_server:
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


def fetched(
    watched: Watched | None, name: str | None, asked: float, now: float
) -> tuple[bool, Reason]:
    """Whether what was ``asked`` of a file before its open is true of it now. Without a ``name``:
    whether it may be, of the files that were listed then, and is worth fetching."""
    if watched is None or not watched.covers(asked, now):
        return False, Reason.UNWATCHED
    if not watched.is_calm(now):
        return False, Reason.BUSY
    if name is not None and not watched.unchanged(name, asked):
        return False, Reason.CHANGED
    return True, Reason.WATCH


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
