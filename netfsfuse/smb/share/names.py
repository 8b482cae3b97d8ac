"""PURE: local names <-> names on the wire, as mount.cifs's ``mapposix`` does.

SMB cannot hold ``" * : < > ? \\ |``, control characters, or a blank or dot at the end of a name.
Services for Macintosh put such characters into the private-use area from U+F001, and so do cifs.ko
and macOS, so that names written by them come back right (cf. fs/smb/client/cifs_unicode.h for
the code points). A blank or dot is put there only at the end of a name, and taken from there only.
A name from the server that holds a lone surrogate is passed on as it is (``surrogatepass``).

What a listing showed can be looked up again: names that the server has listed as no name should be
are sent as they were listed (:class:`~netfsfuse.smb.session.odd_names.OddNames`).
"""

from __future__ import annotations

import re
from collections.abc import Sequence

from netfsfuse.errors import InvalidName, NameTooLong
from netfsfuse.smb.session.odd_names import OddNames

NAME_MAX = 255
"""UTF-16 units of one name ([MS-FSCC] 2.1.5)."""

_RESERVED = {
    '"': "\uf020",
    "*": "\uf021",
    ":": "\uf022",
    "<": "\uf023",
    ">": "\uf024",
    "?": "\uf025",
    "\\": "\uf026",
    "|": "\uf027",
}
_AT_END = {" ": "\uf028", ".": "\uf029"}
_CONTROL = {chr(code): chr(0xF000 + code) for code in range(1, 0x20)}

_TO_SERVER = str.maketrans(_RESERVED | _CONTROL)
_TO_LOCAL = str.maketrans({mapped: plain for plain, mapped in (_RESERVED | _CONTROL).items()})
_END_TO_LOCAL = {mapped: plain for plain, mapped in _AT_END.items()}

_SURELY = re.compile(
    r"""(?!(?:aux|con|prn|nul|clock\$|conin\$|conout\$|com\d|lpt\d)[ ]*(?:\.|$))  # DOS's devices
        (?![.~](?:snapshots?|zfs|ckpt|snap)$|@GMT-)  # earlier versions, by unlisted names
        (?![^.~]{0,7}~[^.~]{1,3}(?:\.[^.]{0,3})?$)  # short names, as ALONGN~1.TXT
        [^"*:<>?\\|\x00-\x1f\ue000-\uf8ff]*
        (?<![ .])$""",
    re.IGNORECASE | re.VERBOSE,
)

_MAPPED = re.compile(r'["*:<>?\\|\x01-\x1f]|[ .](?=/|$)|//|^/|/$')
"""What a path must hold for it to differ on the wire in more than its separators."""

NONE_ODD = OddNames()


def is_surely_listed(name: str) -> bool:
    """Whether a server that finds a file by its local ``name`` lists it, and tells of it, by that
    name, but for case. Not so where it knows short names of long ones, or takes exception to some
    (DOS's devices), which it lists by a short name and finds by both; nor where a folder of old
    versions is listed nowhere."""
    return _SURELY.match(name) is not None


def name_to_server(name: str, odd: OddNames = NONE_ODD) -> str:
    """One component of a local path as the server stores it."""
    if name in odd:
        return name
    mapped = name.translate(_TO_SERVER)
    if mapped[-1:] in _AT_END:
        mapped = mapped[:-1] + _AT_END[mapped[-1]]
    return mapped


def name_to_local(name: str, odd: OddNames = NONE_ODD) -> str:
    """One name from a listing as local programs see it; two names of one directory stay two.

    A "/" cannot come from a sane server; it is replaced, since a name that holds one could
    lead a program out of the directory.
    """
    if not name.isascii():  # no mapped character is ASCII, and most names are
        plain = name.translate(_TO_LOCAL)
        if (end := plain[-1:]) in _END_TO_LOCAL:
            plain = plain[:-1] + _END_TO_LOCAL[end]
        name = name if plain in odd else plain
    if is_sound_name(name):
        return name
    return name.replace("/", "\ufffd").replace("\0", "\ufffd")


def are_plain(names: Sequence[str]) -> bool:
    """Whether local programs see all ``names`` as the server has them: ASCII, none too long, none
    that no name can be."""
    together = "\0".join(names)
    return (
        together.isascii()
        and "/" not in together
        and together.count("\0") == len(names) - 1
        and "" not in names
        and max(map(len, names)) <= NAME_MAX // 2
    )


def is_sound_name(name: str) -> bool:
    """Whether a name from the server holds nothing that no name can hold."""
    return "/" not in name and "\0" not in name


def is_too_long(name: str) -> bool:
    """Whether SMB has no room for a name. The kernel takes four times as much (FUSE_NAME_MAX), and
    fails the whole listing for one name that is longer."""
    if len(name) <= NAME_MAX // 2:
        return False
    return len(name.encode("utf-16-le", "surrogatepass")) > 2 * NAME_MAX


def path_to_server(path: str, odd: OddNames = NONE_ODD) -> str:
    """A local path below the share, "/" between components, as a CREATE wants it."""
    if _MAPPED.search(path) is None:
        return path.replace("/", "\\")
    return "\\".join(name_to_server(name, odd) for name in path.split("/") if name)


def decode_name(raw: bytes) -> str:
    """A name from the kernel. Raises InvalidName when it is not UTF-8, NameTooLong when SMB has no
    room for it.
    """
    try:
        name = raw.decode("utf-8", "surrogatepass")
    except UnicodeDecodeError:
        raise InvalidName("the name is not UTF-8") from None
    if is_too_long(name):
        raise NameTooLong(f"a name of {len(name)} characters")
    return name
