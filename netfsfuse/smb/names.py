"""PURE: local names <-> names on the wire, as mount.cifs's ``mapposix`` does.

SMB cannot hold ``" * : < > ? \\ |``, control characters, or a blank or dot at the end of a name.
Services for Macintosh put such characters into the private-use area from U+F001, and so do cifs.ko
and macOS, so that names written by them come back right (cf. fs/smb/client/cifs_unicode.h for
the code points). A name from the server that holds a lone surrogate is passed on as it is
(``surrogatepass``): what a listing showed can be looked up again.
"""

from __future__ import annotations

from netfsfuse.errors import InvalidName, NameTooLong

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
_TO_LOCAL = str.maketrans(
    {mapped: plain for plain, mapped in (_RESERVED | _AT_END | _CONTROL).items()}
)


def name_to_server(name: str) -> str:
    """One component of a local path as the server stores it."""
    mapped = name.translate(_TO_SERVER)
    if mapped[-1:] in _AT_END:
        mapped = mapped[:-1] + _AT_END[mapped[-1]]
    return mapped


def name_to_local(name: str) -> str:
    """One name from a listing as local programs see it.

    A "/" cannot come from a sane server; it is replaced, since a name that holds one could
    lead a program out of the directory.
    """
    if not name.isascii():  # no mapped character is ASCII, and most names are
        name = name.translate(_TO_LOCAL)
    if is_sound_name(name):
        return name
    return name.replace("/", "\ufffd").replace("\0", "\ufffd")


def is_sound_name(name: str) -> bool:
    """Whether a name from the server holds nothing that no name can hold."""
    return "/" not in name and "\0" not in name


def is_too_long(name: str) -> bool:
    """Whether SMB has no room for a name. The kernel takes four times as much (FUSE_NAME_MAX), and
    fails the whole listing for one name that is longer."""
    if len(name) <= NAME_MAX // 2:
        return False
    return len(name.encode("utf-16-le", "surrogatepass")) > 2 * NAME_MAX


def path_to_server(path: str) -> str:
    """A local path below the share, "/" between components, as a CREATE wants it."""
    return "\\".join(name_to_server(name) for name in path.split("/") if name)


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
