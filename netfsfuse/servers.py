"""What a mount's source names -> the server that is built for it. The only place outside the
protocols' own packages that names one; ``mount.py`` knows a server by what it can do.
"""

from __future__ import annotations

from netfsfuse.config import MountConfig
from netfsfuse.errors import MountError
from netfsfuse.smb.connect import ShareLimits, SmbShare
from netfsfuse.stats import ServerStats
from netfsfuse.tasks import ServiceNursery

Server = SmbShare
"""Of any protocol: a Union once there is a second one."""

Limits = ShareLimits
"""What :meth:`Server.connect` tells."""

_BY_SCHEME: dict[str, type[Server]] = {"smb": SmbShare}


def scheme_of(source: str) -> str:
    """The scheme of ``source`` in small letters: ``smb://host/share`` names one, ``//host/share``
    is smb."""
    before, colon, _ = source.partition("://")
    return before.lower() if colon and before.isalnum() else "smb"


def server_of(config: MountConfig, *, nursery: ServiceNursery, stats: ServerStats) -> Server:
    """The server of ``config.source``, not connected yet. Raises MountError for a scheme that is
    not known."""
    scheme = scheme_of(config.source)
    build = _BY_SCHEME.get(scheme)
    if build is None:
        raise MountError(f"{scheme}:// is not known here, only {', '.join(_BY_SCHEME)}://")
    return build(config, nursery=nursery, stats=stats)
