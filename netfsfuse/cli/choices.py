"""What the ``-o`` options chose, and how that lands in a :class:`MountConfig`. Pure.

``options`` fills a :class:`Choices`, later options overwriting earlier ones; :func:`build_config`
adds what does not come from options: the source, the mount point, the resolved credentials, and
the user who runs the command.
"""

from __future__ import annotations

import os
from dataclasses import dataclass, field, replace
from importlib import import_module
from pathlib import Path

from netfsfuse.cli.source import Source
from netfsfuse.config import (
    CacheConfig,
    Credentials,
    MountConfig,
    ReadConfig,
    ServerConfig,
    ShownConfig,
    TrustConfig,
    WriteConfig,
)

SMB_PORT = 445


@dataclass(slots=True)
class Choices:
    """Options as given; None where the default depends on something else."""

    # login
    username: str | None = None
    password: str | None = field(default=None, repr=False)
    domain: str | None = None
    password2: str | None = field(default=None, repr=False)
    credentials_file: str | None = None
    guest: bool = False
    anonymous: bool = False
    mechanism: str = "negotiate"
    # server
    port: int | None = None
    address: str | None = None
    dialect: str | None = None
    sign: bool = False  # sign
    nosign: bool = False
    sec_sign: bool = False  # sec=...i
    seal: bool = False
    max_credits: int = ServerConfig("", "").max_credits
    max_channels: int = ServerConfig("", "").max_channels
    leases: bool = True
    echo_interval: float = ServerConfig("", "").echo_interval
    retrans: int | None = None
    closetimeo: float = ServerConfig("", "").closetimeo
    # reading and cache
    rsize: int | None = None
    rasize: int | None = None
    fsc: bool = True
    cachedir: str | None = None
    cachesize: int | None = None
    cachefree: int = 0
    percentages: dict[str, int] = field(default_factory=dict)
    verify: str = CacheConfig().verify
    # writing
    wsize: int | None = None
    sync: bool = False
    close_waits: bool = True
    strict_sync: bool = True
    # what is believed
    mode: str = TrustConfig().mode
    acregmax: float = TrustConfig().acregmax
    acdirmax: float = TrustConfig().acdirmax
    # how it looks
    uid: int | None = None
    gid: int | None = None
    file_mode: int = ShownConfig().file_mode
    dir_mode: int = ShownConfig().dir_mode
    mfsymlinks: bool = True
    read_only: bool = False
    allow_other: bool = False
    default_permissions: bool | None = None
    mount_flags: dict[str, None] = field(default_factory=dict)  # an ordered set
    # ourselves
    log: str | None = None
    debug: bool = False
    sloppy: bool = False
    # about the options themselves
    notices: list[str] = field(default_factory=list)
    public: list[str] = field(default_factory=list)  # the options again, without any secret
    withheld: bool = False  # ``public`` lacks something: a secret, or what sloppy ignored
    exposed: bool = False  # a password stood among the options


@dataclass(frozen=True, slots=True)
class Invoker:
    """The user of the command, and from where: relative paths in options count from ``cwd``."""

    uid: int
    gid: int
    cwd: Path

    @property
    def is_root(self) -> bool:
        """Whether the kernel lets this user mount without fusermount3."""
        return self.uid == 0


def build_config(
    choices: Choices,
    source: Source,
    mountpoint: Path,
    credentials: Credentials,
    invoker: Invoker,
    *,
    foreground: bool,
) -> MountConfig:
    """The whole configuration of one mount. ``mountpoint`` must be absolute."""
    allow_other = choices.allow_other or invoker.is_root
    permissions = choices.default_permissions
    return MountConfig(
        source=source.shown,
        mountpoint=mountpoint,
        server=_server(choices, source, credentials),
        read=replace(ReadConfig(), rsize=choices.rsize, rasize=choices.rasize),
        write=WriteConfig(
            wsize=choices.wsize,
            sync=choices.sync,
            close_waits=choices.close_waits,
            strict_sync=choices.strict_sync,
        ),
        cache=_cache(choices, invoker),
        trust=TrustConfig(
            mode=choices.mode,
            open_without_server=choices.leases,
            acregmax=choices.acregmax,
            acdirmax=choices.acdirmax,
        ),
        shown=ShownConfig(
            uid=invoker.uid if choices.uid is None else choices.uid,
            gid=invoker.gid if choices.gid is None else choices.gid,
            file_mode=choices.file_mode,
            dir_mode=choices.dir_mode,
            mfsymlinks=choices.mfsymlinks,
        ),
        read_only=choices.read_only,
        allow_other=allow_other,
        # A user who lets others in wants the shown modes to count, as on cifs.
        default_permissions=allow_other if permissions is None else permissions,
        mount_flags=tuple(choices.mount_flags),
        foreground=foreground,
        log=_path(choices.log, invoker),
        debug=choices.debug,
    )


def _server(choices: Choices, source: Source, credentials: Credentials) -> ServerConfig:
    return ServerConfig(
        host=source.host,
        share=source.share,
        port=choices.port or source.port or SMB_PORT,
        subdir=source.subdir,
        address=choices.address,
        credentials=credentials,
        dialect=choices.dialect,
        sign=choices.sign or choices.sec_sign,
        sign_unasked=not choices.nosign,
        seal=choices.seal,
        max_credits=choices.max_credits,
        max_channels=choices.max_channels,
        echo_interval=choices.echo_interval,
        retrans=choices.retrans,
        leases=choices.leases and choices.mode != "none",
        closetimeo=choices.closetimeo,
    )


def _cache(choices: Choices, invoker: Invoker) -> CacheConfig:
    cache = CacheConfig(
        enabled=choices.fsc and choices.mode != "none",
        directory=_path(choices.cachedir, invoker),
        cachesize=choices.cachesize,
        cachefree=choices.cachefree,
        percentages=tuple(choices.percentages.items()),
        verify=choices.verify,
    )
    import_module("netfsfuse.fscache").limits_of(cache)  # late: --help needs no trio
    return cache


def _path(text: str | None, invoker: Invoker) -> Path | None:
    return None if text is None else invoker.cwd / os.path.expanduser(text)
