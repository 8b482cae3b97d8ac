"""May a question about a directory's names be answered from its listing? PURE, as ``trust``, whose
table holds these questions too."""

from __future__ import annotations

from dataclasses import dataclass

from netfsfuse.config import TrustConfig
from netfsfuse.types import FileAttr
from netfsfuse.vfs.coherency.reason import Reason
from netfsfuse.vfs.inodes.directory import Folder, Watched
from netfsfuse.vfs.inodes.inodes import Inode


@dataclass(frozen=True, slots=True)
class Missing:
    """The directory holds no such name."""


@dataclass(frozen=True, slots=True)
class Known:
    """The directory holds the name, with ``attr`` as of ``asked``."""

    attr: FileAttr
    asked: float


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
        if watched.covers(folder.asked, now) and watched.is_sure_of_all(folder.asked):
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
        if watched.covers(folder.asked, now) and watched.is_sure(name, folder.asked):
            return Known(attr, folder.asked), Reason.WATCH
    if now < folder.asked + lifetime:
        return Known(attr, folder.asked), Reason.LIFETIME
    return None, Reason.EXPIRED


def _absence(
    folder: Folder, watched: Watched | None, name: str, now: float
) -> tuple[Missing | None, Reason]:
    """Only by a watch: the kernel is to believe it for a whole lifetime more."""
    if watched is None or not watched.covers(folder.asked, now):
        return None, Reason.UNWATCHED
    if not watched.is_calm(now):
        return None, Reason.BUSY
    if not watched.names_unchanged(folder.asked):
        return None, Reason.CHANGED
    return (None, Reason.UNLISTED) if folder.holds(name) else (Missing(), Reason.WATCH)


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
    if not trust.open_without_server:
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
