"""Frozen option records with defaults and the reason for each. Imports nothing of ours.

``cli/options.py`` makes these from the command line; ``mount.py`` hands each layer its part.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

MIB = 1024 * 1024


@dataclass(frozen=True, slots=True)
class Credentials:
    """A login. ``repr`` never shows the password."""

    username: str | None = None  # None: whatever pyspnego's mechanism finds (Kerberos)
    password: str | None = field(default=None, repr=False)
    domain: str | None = None
    password2: str | None = field(default=None, repr=False)  # where the first one is refused
    guest: bool = False  # the server's guest account: user "guest" without a password
    anonymous: bool = False  # sec=none: a null session
    mechanism: str = "negotiate"  # pyspnego's protocol: negotiate, ntlm, kerberos


@dataclass(frozen=True, slots=True)
class ServerConfig:
    """Where and how to connect."""

    host: str
    share: str
    port: int = 445
    subdir: str = ""  # below the share, "/" between components, no leading or trailing "/"
    address: str | None = None  # ip=: connect here, keep ``host`` as the name
    credentials: Credentials = field(default_factory=Credentials)
    renew_login: Callable[[], Credentials] | None = field(default=None, repr=False, compare=False)
    # reads ``credentials`` again where they come from: blocking, raises MountError
    dialect: str | None = None  # vers=: "2.1" "3.0" "3.0.2" "3.1.1"; None: the best both know
    sign: bool = False  # demand signing: no login that gives no key
    sign_unasked: bool = True  # sign wherever the login gives a key; with nosign where demanded
    seal: bool = False  # demand encryption
    max_credits: int = 8192  # Samba's own default limit; 64 KiB each
    max_channels: int = 1  # TCP connections at most, opened as load asks for them
    connect_timeout: float = 10.0  # seconds for TCP, negotiate, login and tree connect in all
    leases: bool = True  # ask for them; nolease
    closetimeo: float = 1.0  # seconds that an unused handle is kept under a lease
    idle_deadline: float = 30.0  # seconds of silence with an answer due: connection given up
    echo_interval: float = 10.0  # seconds of silence after which an idle connection is tried
    hard: bool = False  # calls wait for a server that is away for as long as it is
    retrans: int | None = None  # times that what reads is asked again; None: as time allows

    @property
    def wants_signing(self) -> bool:
        """Whether the server is told that all is signed."""
        keyless = self.credentials.guest or self.credentials.anonymous
        return self.sign or (self.sign_unasked and not keyless)


@dataclass(frozen=True, slots=True)
class ReadConfig:
    """How the helper library reads. ``rsize`` and ``rasize`` together switch the adapting off: that
    many bytes are kept in flight for a sequential reader, in requests of that size.
    """

    rsize: int | None = None  # READ size, bytes, multiple of 64 KiB; None: found out, <= 1 MiB
    rasize: int | None = None  # largest readahead window of a handle, bytes; None: 64 MiB
    readahead_budget: int = 96 * MIB  # of all handles together
    buffers: int = 128 * MIB  # all buffers of the mount: a read waited for finds room beside


DEFAULT_RASIZE = 64 * MIB
"""Bytes: 50 ms at 1.3 GB/s."""

DEFAULT_RSIZE = 4 * MIB
"""Bytes, largest READ where ``rsize=`` is not given. On a link that carries it in a few ms one READ
of 4 MiB costs a third less CPU in Python than four of 1 MiB (0.37 against 0.60 s of user time a
GiB, the whole mount, measured); slower links get smaller ones."""


@dataclass(frozen=True, slots=True)
class WriteConfig:
    """When a program that writes is told that it has written."""

    wsize: int | None = None  # WRITE size, bytes, multiple of 64 KiB; None: found out, <= 1 MiB
    sync: bool = False  # write returns when the server has the bytes
    close_waits: bool = True  # close returns when the server has all; not so with async
    strict_sync: bool = True  # fsync has the server put it on its disk; not so with nostrictsync


@dataclass(frozen=True, slots=True)
class CacheConfig:
    """The persistent cache."""

    enabled: bool = True  # fsc / nofsc
    directory: Path | None = None  # cachedir=; None: the user's cache directory
    cachesize: int | None = None  # bytes that the cache may take at most
    cachefree: int = 0  # bytes that must stay free on its filesystem
    percentages: tuple[tuple[str, int], ...] = ()  # brun= bcull= ... fstop= as far as given
    verify: str = "open"  # when a stored block is hashed: open, always, never


@dataclass(frozen=True, slots=True)
class TrustConfig:
    """How long, and on whose word, what is known of the server's files is believed.

    ``mode``: ``strict``, an open asks the server unless a watch or a lease speaks for the file;
    ``loose``, nor within the attributes' lifetime; ``none``, nothing that was read is kept.
    """

    mode: str = "strict"  # cache=
    open_without_server: bool = True  # by a watch or a lease: not with nolease
    acregmax: float = 1.0  # seconds that a file's attributes are believed
    acdirmax: float = 1.0  # and a directory's, and its names


@dataclass(frozen=True, slots=True)
class FileSystemConfig:
    """How the file system answers what it need not ask the server."""

    trust: TrustConfig = field(default_factory=TrustConfig)
    write: WriteConfig = field(default_factory=WriteConfig)


@dataclass(frozen=True, slots=True)
class ShownConfig:
    """How the mount looks to local programs."""

    uid: int = 0
    gid: int = 0
    file_mode: int = 0o755  # mount.cifs's defaults
    dir_mode: int = 0o755
    mfsymlinks: bool = True  # show Minshall+French symlink files as symlinks


@dataclass(frozen=True, slots=True)
class MountConfig:
    """Everything one mount needs to know."""

    source: str  # as shown in /proc/mounts: //HOST/SHARE
    mountpoint: Path
    server: ServerConfig
    read: ReadConfig = field(default_factory=ReadConfig)
    write: WriteConfig = field(default_factory=WriteConfig)
    cache: CacheConfig = field(default_factory=CacheConfig)
    trust: TrustConfig = field(default_factory=TrustConfig)
    shown: ShownConfig = field(default_factory=ShownConfig)
    read_only: bool = False  # ro: the kernel answers every call that changes something with EROFS
    allow_other: bool = False
    default_permissions: bool = False
    mount_flags: tuple[str, ...] = ()  # nosuid nodev noexec noatime ... handed to the kernel
    foreground: bool = False
    log: Path | None = None  # log=: a file instead of journald / syslog
    debug: bool = False
