"""What is mounted: ``//HOST[:PORT]/SHARE[/SUBDIR]``. Pure.

Also ``\\\\HOST\\SHARE`` as Windows writes it, ``//[2001:db8::1]:445/SHARE``, and the URLs that
desktops show, ``smb://HOST/SHARE`` or ``cifs://HOST/SHARE``: only in those is ``%20`` a space. A
login does not belong here; an address that holds one is refused without being repeated, for it may
hold a password.
"""

from __future__ import annotations

import ipaddress
import re
from dataclasses import dataclass
from urllib.parse import unquote

from netfsfuse.errors import UsageError

_FORM = "//HOST[:PORT]/SHARE[/SUBDIR]"
_URL = re.compile(r"(?:smb|cifs)://", re.IGNORECASE)
_HOST = re.compile(r"[^\s:/\\\[\]@]{1,255}")
_SHARE_LIMIT = 80  # characters, [MS-SMB2] share names


@dataclass(frozen=True, slots=True)
class Source:
    """A parsed source. ``port`` is None when none was written; ``subdir`` has no outer slashes.

    ``host`` is a name or an address without brackets.
    """

    host: str
    share: str
    subdir: str = ""
    port: int | None = None

    @property
    def shown(self) -> str:
        """The form for /proc/mounts: without the port, as cifs shows it."""
        host = f"[{self.host}]" if ":" in self.host else self.host
        return "/".join(part for part in (f"//{host}", self.share, self.subdir) if part)


def is_source(word: str) -> bool:
    """Whether ``word`` begins as a source does; :func:`parse_source` may refuse it all the same."""
    return word.startswith(("//", "\\\\")) or _URL.match(word) is not None


def parse_source(text: str) -> Source:
    """Read ``text`` as a source, or raise :class:`UsageError` naming what is wrong with it."""
    url = _URL.match(text)
    path = "//" + text[url.end() :] if url else text.replace("\\", "/")
    if not path.startswith("//") or path.startswith("///"):
        raise UsageError(f"the source must look like {_FORM}")
    authority, _, rest = path[2:].partition("/")
    if "@" in authority:
        raise UsageError("the source holds a login; give it with -o user=NAME or credentials=FILE")
    if url:
        authority = _decoded(authority)
        rest = "/".join(_decoded(name) for name in rest.split("/"))
    if any(ord(character) < 32 for character in authority + rest):
        raise UsageError("the source holds a control character")
    if any("\ud800" <= character <= "\udfff" for character in path):
        raise UsageError("the source is no text in this locale")
    host, port = _split_authority(authority)
    share, _, below = rest.strip("/").partition("/")
    if not share:
        raise UsageError(f"{text!r} names no share; the source must look like {_FORM}")
    if share in (".", "..") or len(share) > _SHARE_LIMIT:
        raise UsageError(f"{share!r} is not a share name")
    return Source(host, share, _clean_subdir(below), port)


def _decoded(name: str) -> str:
    """One part of a URL with each ``%XX`` replaced; a lone ``%`` stays."""
    try:
        decoded = unquote(name, errors="strict")
    except UnicodeDecodeError:
        raise UsageError("the source holds a %XX that is not UTF-8") from None
    if "/" in decoded or "\\" in decoded:
        raise UsageError("a name in the source must not hold a slash or a backslash")
    return decoded


def _split_authority(authority: str) -> tuple[str, int | None]:
    if authority.startswith("["):
        host, bracket, tail = authority[1:].partition("]")
        if not bracket or not _is_ipv6(host) or (tail and not tail.startswith(":")):
            raise UsageError(f"{authority!r} is not an IPv6 address in brackets")
        return host, _parse_port(tail[1:]) if tail else None
    if authority.count(":") > 1 and _is_ipv6(authority):
        return authority, None
    host, colon, port = authority.partition(":")
    if not _HOST.fullmatch(host):
        raise UsageError(f"{host!r} is not a host name; the source must look like {_FORM}")
    return host, _parse_port(port) if colon else None


def _is_ipv6(text: str) -> bool:
    try:
        ipaddress.IPv6Address(text)
    except ValueError:
        return False
    return True


def _parse_port(text: str) -> int:
    if not re.fullmatch(r"[0-9]{1,5}", text) or not 1 <= int(text) <= 65535:
        raise UsageError(f"{text!r} is not a port (1 to 65535)")
    return int(text)


def _clean_subdir(text: str) -> str:
    parts = [part for part in text.split("/") if part not in ("", ".")]
    if ".." in parts:
        raise UsageError("the subdirectory of the source must not go up with '..'")
    return "/".join(parts)
