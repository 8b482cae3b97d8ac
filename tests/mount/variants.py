"""Ways in which a mount and its server may be set up, whatever programs do there."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

from netfsfuse.lab.server.samba import PrivateSamba
from tests.support.mounted import Mounted
from tests.support.proxy import PrivateProxy


@dataclass(frozen=True)
class Variant:
    """``server``: smbd's options; ``options``: the mount's; ``delay``: a round trip in s."""

    options: tuple[str, ...] = ()
    server: Mapping[str, str] = field(default_factory=dict)
    delay: float = 0.0


SIGNED = {"server signing": "mandatory"}
SEALED = {"smb encrypt": "required"}
FEW_CREDITS = {"smb2 max credits": "128"}
NO_LEASES = {"smb2 leases": "no", "oplocks": "no"}

VARIANTS: Mapping[str, Variant] = {
    "cached": Variant(),
    "nofsc": Variant(("nofsc",)),
    "nosign": Variant(("nosign",)),
    "signed": Variant(server=SIGNED),
    "sealed": Variant(server=SEALED),
    "128-credits": Variant(server=FEW_CREDITS),
    "nolease": Variant(("nolease",)),
    "no-leases": Variant(server=NO_LEASES),
    "loose": Variant(("cache=loose",)),
    "none": Variant(("cache=none",)),
    "10ms": Variant(delay=0.010),
    "10ms-nofsc": Variant(("nofsc",), delay=0.010),
    "10ms-signed": Variant(server=SIGNED, delay=0.010),
    "10ms-sealed": Variant(("nofsc",), SEALED, 0.010),
    "10ms-128-credits": Variant(server=FEW_CREDITS, delay=0.010),
    "10ms-nolease": Variant(("nolease",), delay=0.010),
}


class Setting:
    """Makes servers and mounts of variants; they end with the test's fixtures."""

    def __init__(
        self,
        samba: PrivateSamba,
        samba_factory: Callable[..., PrivateSamba],
        mount: Callable[..., Mounted],
        proxy: Callable[..., PrivateProxy],
    ) -> None:
        self._samba = samba
        self._samba_factory = samba_factory
        self._mount = mount
        self._proxy = proxy

    def mounted(self, name: str, *options: str) -> Mounted:
        """The mount of a variant, of a server of its own unless a plain one does, with more
        ``options``."""
        variant = VARIANTS[name]
        server = self._samba_factory(variant.server) if variant.server else self._samba
        return self.another(server, *variant.options, *options, delay=variant.delay)

    def another(self, server: PrivateSamba, *options: str, delay: float = 0.0) -> Mounted:
        """One more mount of a server."""
        if not delay:
            return self._mount(server, *options)
        line = self._proxy(server.port, delay)
        return self._mount(server, *options, source=f"//127.0.0.1:{line.port}/{server.share}")
