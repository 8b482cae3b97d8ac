"""The share that is measured, and the login."""

from __future__ import annotations

from dataclasses import dataclass, field, replace


@dataclass(frozen=True, slots=True)
class Target:
    """A share and a login. ``options`` are further mount options for ours, without secrets."""

    host: str
    port: int
    share: str
    username: str = ""
    password: str = field(default="", repr=False)
    domain: str = ""
    options: tuple[str, ...] = ()

    @property
    def url(self) -> str:
        """As ``netfsfuse mount`` takes it."""
        host = f"[{self.host}]" if ":" in self.host else self.host
        return f"//{host}:{self.port}/{self.share}"

    def at(self, host: str, port: int) -> Target:
        """The same share through a proxy that listens there."""
        return replace(self, host=host, port=port)
