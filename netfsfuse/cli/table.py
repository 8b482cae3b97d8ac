"""The table of ``-o`` options: names, values, meanings and help. Pure.

Names are mount.cifs's. Each entry writes what it means into a
:class:`~netfsfuse.cli.choices.Choices`; names that need nothing of us are in :mod:`foreign`.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from netfsfuse.cli import values
from netfsfuse.cli.choices import Choices
from netfsfuse.config import MIB
from netfsfuse.errors import UsageError
from netfsfuse.types import CACHE_BLOCK

Apply = Callable[[Choices, str], None]

_MAX_SIZE = 8 * MIB  # Samba's and Windows' largest MaxReadSize and MaxWriteSize
_MAX_RASIZE = 64 * MIB  # leaves room for a second reader in the 96 MiB that all may read ahead
_MAX_CHANNELS = 16

_DIALECTS = {
    "2.1": "2.1",
    "3.0": "3.0",
    "3.0.2": "3.0.2",
    "3.02": "3.0.2",
    "3.1.1": "3.1.1",
    "3.11": "3.1.1",
    "3": None,
    "default": None,
}
_REFUSED_DIALECTS = {
    "1.0": "SMB1 is insecure and many servers have removed it",
    "2.0": "it has no large reads and no credits worth the name",
    "2": "it has no large reads and no credits worth the name",
}
_MECHANISMS = {"ntlmssp": "ntlm", "ntlmv2": "ntlm", "krb5": "kerberos"}
_REFUSED_SEC = {
    "ntlm": "NTLMv1 is broken; use sec=ntlmssp",
    "ntlmi": "NTLMv1 is broken; use sec=ntlmsspi",
    "lanman": "LANMAN hashes are broken; use sec=ntlmssp",
    "krb5p": "use sec=krb5 with seal",
}


@dataclass(frozen=True, slots=True)
class Option:
    """One option: its names (the first is shown), its value in the help, and what it does."""

    names: tuple[str, ...]
    value: str  # what follows "=" in the help; "" for a flag
    apply: Apply
    help: str


def _text(_: str, text: str) -> str:
    return text


def _valued(
    names: str, value: str, field: str, help: str, parse: Callable[[str, str], object] = _text
) -> Option:
    first, *aliases = names.split()

    def apply(choices: Choices, text: str) -> None:
        setattr(choices, field, parse(first, text))

    return Option((first, *aliases), value, apply, help)


def _flag(names: str, help: str, **chosen: object) -> Option:
    def apply(choices: Choices, _: str) -> None:
        for field, value in chosen.items():
            setattr(choices, field, value)

    return Option(tuple(names.split()), "", apply, help)


def _kernel_flag(negative: str, positive: str) -> tuple[Option, Option]:
    """``nosuid`` reaches the kernel. ``suid`` only takes it back: FUSE mounts are born without."""

    def on(choices: Choices, _: str) -> None:
        choices.mount_flags[negative] = None

    def off(choices: Choices, _: str) -> None:
        choices.mount_flags.pop(negative, None)

    return Option((negative,), "", on, ""), Option((positive,), "", off, "")


def _user(choices: Choices, text: str) -> None:
    domain, user, password = values.split_login(text)
    if not user:
        raise UsageError("user= needs a name (or use guest, or sec=none)")
    choices.username = user
    if domain is not None:
        choices.domain = domain
    if password is not None:
        choices.password = password


def _sec(choices: Choices, text: str) -> None:
    if text in _REFUSED_SEC:
        raise UsageError(f"sec={text}: {_REFUSED_SEC[text]}")
    signed = text.endswith("i") and text[:-1] in _MECHANISMS
    plain = text[:-1] if signed else text
    if plain != "none" and plain not in _MECHANISMS:
        known = ", ".join([*_MECHANISMS, *(f"{name}i" for name in _MECHANISMS), "none"])
        raise UsageError(f"sec={text}: must be one of {known}")
    choices.anonymous = plain == "none"
    choices.mechanism = _MECHANISMS.get(plain, "negotiate")
    choices.sec_sign = signed


def _dialect(name: str, text: str) -> str | None:
    if text in _REFUSED_DIALECTS:
        raise UsageError(f"{name}={text} is not supported: {_REFUSED_DIALECTS[text]}")
    if text not in _DIALECTS:
        raise UsageError(f"{name}={text}: must be one of {', '.join(_DIALECTS)}")
    return _DIALECTS[text]


def _actimeo(choices: Choices, text: str) -> None:
    choices.acregmax = choices.acdirmax = values.seconds("actimeo", text)


def _cache(choices: Choices, text: str) -> None:
    if text not in ("strict", "none", "loose", "ro", "singleclient"):
        raise UsageError(f"cache={text}: must be strict, none or loose")
    if text in ("ro", "singleclient"):
        choices.notices.append(f"cache={text} behaves as cache=loose")
        text = "loose"
    choices.mode = text


def _iocharset(choices: Choices, text: str) -> None:
    if text.lower() not in ("utf8", "utf-8"):
        raise UsageError(f"iocharset={text}: names are always UTF-8 here")


def _cachesize(name: str, text: str) -> int:
    return values.size(name, text, MIB)


def _verify(name: str, text: str) -> str:
    if text not in ("open", "always", "never"):
        raise UsageError(f"{name}={text}: must be open, always or never")
    return text


_PERCENTAGES = {
    "brun": "culling ends above N % free blocks (7)",
    "bcull": "and begins below N % (5)",
    "bstop": "nothing is stored below N % (1)",
    "frun": "the same for free files (7)",
    "fcull": "(5)",
    "fstop": "(1)",
}


def _percentage(name: str) -> Option:
    def apply(choices: Choices, text: str) -> None:
        choices.percentages[name] = values.whole_number(name, text.removesuffix("%"), 0, 99)

    return Option((name,), "N", apply, _PERCENTAGES[name])


def _size(name: str, text: str) -> int:
    return values.block_size(name, text, CACHE_BLOCK, _MAX_SIZE)


def _rasize(name: str, text: str) -> int:
    return values.block_size(name, text, CACHE_BLOCK, _MAX_RASIZE)


def _channels(name: str, text: str) -> int:
    return values.whole_number(name, text, 1, _MAX_CHANNELS)


def _port(name: str, text: str) -> int:
    return values.whole_number(name, text, 1, 65535)


def _credits(name: str, text: str) -> int:
    return values.whole_number(name, text, 20, 60000)


def _echo_interval(name: str, text: str) -> float:
    return values.whole_number(name, text, 1, 600)


def _retrans(name: str, text: str) -> int:
    return values.whole_number(name, text, 0, 1000)


LOGIN = (
    Option(("user", "username"), "[DOMAIN/]NAME", _user, "log in as NAME (default: $USER)"),
    _valued("pass password", "PASSWORD", "password", "password; better in a file or PASSWD"),
    _valued("password2 pass2", "PASSWORD", "password2", "one to try where that is refused"),
    _valued("domain dom workgroup", "NAME", "domain", "domain or workgroup of the user"),
    _valued("credentials cred", "FILE", "credentials_file", "username=, password=, domain= lines"),
    _flag("guest", "log in without a password", guest=True),
    Option(("sec",), "MECHANISM", _sec, "ntlmssp, ntlmv2, krb5 (an i at the end signs), none"),
)
SERVER = (
    _valued("port", "N", "port", "TCP port (default: 445)", _port),
    _valued("ip addr", "ADDRESS", "address", "connect here instead of looking HOST up"),
    _valued("vers", "VERSION", "dialect", "2.1, 3.0, 3.0.2, 3.1.1 (default: the best)", _dialect),
    _flag("sign", "sign, or do not mount (default: sign unless a guest)", sign=True, nosign=False),
    _flag("nosign", "sign only where the server demands it", sign=False, nosign=True),
    _flag("seal", "demand encryption", seal=True),
    _valued("max_credits", "N", "max_credits", "ask for at most N credits (20-60000)", _credits),
    _valued("max_channels", "N", "max_channels", "at most N connections (1-16)", _channels),
    _valued(
        "echo_interval",
        "SECONDS",
        "echo_interval",
        "try an idle connection so often (1-600, default: 10)",
        _echo_interval,
    ),
    _valued("retrans", "N", "retrans", "ask again N times (default: as 30 s allow)", _retrans),
    _flag("nolease", "no leases; every open asks the server", leases=False),
    _flag("lease", "ask for leases (default)", leases=True),
    _valued(
        "closetimeo", "SECONDS", "closetimeo", "keep unused leased handles (1)", values.seconds
    ),
)
READING = (
    _valued("rsize", "SIZE", "rsize", "size of a read (64K-8M; default: adapts, to 1M)", _size),
    _valued("rasize", "SIZE", "rasize", "largest readahead (64K-64M, default: 64M)", _rasize),
    _flag("fsc", "keep what was read in the disk cache (default)", fsc=True),
    _flag("nofsc", "no disk cache", fsc=False),
    _valued("cachedir", "DIR", "cachedir", "where the disk cache is"),
    _valued("cachesize", "SIZE", "cachesize", "the cache takes at most SIZE on disk", _cachesize),
    _valued("cachefree", "SIZE", "cachefree", "and leaves SIZE free there", values.size),
    *(_percentage(kind + word) for kind in "bf" for word in ("run", "cull", "stop")),
    _valued("verify", "WHEN", "verify", "hash stored blocks: open, always, never", _verify),
    Option(("cache",), "MODE", _cache, "how changes are noticed: strict, loose, none"),
)
WRITING = (
    _valued("wsize", "SIZE", "wsize", "size of a write (64K-8M; default: adapts)", _size),
    _flag("sync", "each write waits for the server", sync=True, close_waits=True),
    # mount(8) keeps async for itself: from fstab only the other name comes here (measured).
    _flag(
        "async asyncclose",
        "close waits for nothing; errors show at the next call",
        sync=False,
        close_waits=False,
    ),
    _flag("strictsync", "fsync waits for the server's disk (default)", strict_sync=True),
    _flag("nostrictsync", "fsync waits for the server alone", strict_sync=False),
)
SHOWN = (
    _flag("ro", "mount read-only", read_only=True),
    _flag("rw", "mount for reading and writing (default)", read_only=False),
    _valued("uid", "USER", "uid", "shown owner, name or number", values.user_id),
    _valued("gid", "GROUP", "gid", "shown group, name or number", values.group_id),
    _valued("file_mode", "MODE", "file_mode", "shown mode of files (0755)", values.mode),
    _valued("dir_mode dirmode", "MODE", "dir_mode", "shown mode of directories", values.mode),
    Option(("actimeo",), "SECONDS", _actimeo, "how long attributes are trusted (default: 1)"),
    _flag("noac", "the same as actimeo=0", acregmax=0.0, acdirmax=0.0),
    _valued("acregmax", "SECONDS", "acregmax", "of files", values.seconds),
    _valued("acdirmax", "SECONDS", "acdirmax", "of directories, and their names", values.seconds),
    _flag("allow_other", "let other users in (default for root)", allow_other=True),
    _flag("default_permissions perm", "the kernel checks modes", default_permissions=True),
    _flag("noperm", "the kernel does not check modes", default_permissions=False),
    _flag("mfsymlinks", "show Minshall+French symlinks (default)", mfsymlinks=True),
    _flag("nomfsymlinks", "show them as files", mfsymlinks=False),
)
OURSELVES = (
    _valued("log", "FILE", "log", "append the log to FILE instead of syslog"),
    _flag("debug", "log more", debug=True),
    _flag("sloppy", "ignore unknown options, with a notice", sloppy=True),
)
_GENERIC = (
    *_kernel_flag("nosuid", "suid"),
    *_kernel_flag("nodev", "dev"),
    *_kernel_flag("noexec", "exec"),
    *_kernel_flag("noatime", "atime"),
    *_kernel_flag("nodiratime", "diratime"),
    Option(("iocharset",), "CHARSET", _iocharset, ""),
)
GROUPS = {
    "Login": LOGIN,
    "Server": SERVER,
    "Reading and cache": READING,
    "Writing": WRITING,
    "How it looks": SHOWN,
    "Log and options": OURSELVES,
}
OPTIONS: dict[str, Option] = {
    name: option
    for group in (*GROUPS.values(), _GENERIC)
    for option in group
    for name in option.names
}
"""Every option by each of its names."""
