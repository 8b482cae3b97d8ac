"""The reasons for which something is answered without the server, or the server is asked. PURE."""

from __future__ import annotations

from enum import StrEnum


class Reason(StrEnum):
    """Why an answer is believed, or why the server is asked. Its value is its name in ``stats``."""

    __hash__ = str.__hash__  # counted at every look-up: Enum's own is a call of Python's

    WATCH = "watch"  # the server would have told of a change, and told of none
    LIFETIME = "lifetime"  # asked for less than a lifetime ago
    LOOSE = "loose"  # the same, of an open, under cache=loose
    LISTED = "listed"  # attributes of a name that is believed, from the same listing
    LEASE = "lease"  # a handle may be open under a lease, and stand for the server
    OPENED = "opened"  # the file was opened before, by the same name, as what it is now
    SETTLED = "settled"  # a further change would show in the file's times
    CURRENT = "current"  # nothing was learned since that tells of a change

    CHANGED = "changed"  # a change was told, or may have been among what was
    EXPIRED = "expired"  # no watch speaks for it, and its lifetime is over
    UNWATCHED = "unwatched"  # no watch speaks for it, and a lifetime does not do
    BUSY = "busy"  # something is being changed there: more may be told in a moment
    STRANGE = "strange"  # a name was told that may be another of this file
    ASTRAY = "astray"  # the path leads to another file, or nowhere
    FOLLOWED = "followed"  # the path leads through a link, past every watch
    DISBELIEVED = "disbelieved"  # a lifetime of 0
    NOLEASE = "nolease"  # the mount lets nothing stand for the server at an open
    WATCHED = "watched"  # there is a watch, whose word counts more than a lease's
    DOUBTED = "doubted"  # the name was found to lead elsewhere than it was listed
    UNLISTED = "unlisted"  # no listing is kept that holds the name as it is written
    OLDER = "older"  # the listing was begun before what is known was asked for
    UNOPENED = "unopened"  # it was not opened before, or that is forgotten
    ELSEWHERE = "elsewhere"  # it was opened by another name, which may be another's watch
    RACY = "racy"  # it may change once more within the same tick of the server's clock


BELIEVED = frozenset(
    {
        Reason.WATCH,
        Reason.LIFETIME,
        Reason.LOOSE,
        Reason.LISTED,
        Reason.LEASE,
        Reason.OPENED,
        Reason.SETTLED,
        Reason.CURRENT,
    }
)
"""The reasons of what is believed; for all others the server is asked."""
