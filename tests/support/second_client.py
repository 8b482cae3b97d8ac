"""Another SMB client of the same share: smbprotocol's own, in this process."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import smbclient

from netfsfuse.demo.samba import PrivateSamba


class SecondClient:
    """Paths are below the share, "/" between components."""

    def __init__(self, samba: PrivateSamba) -> None:
        self._samba = samba
        self._connections: dict[str, Any] = {}
        self._more = {
            "username": samba.username,
            "password": samba.password,
            "port": samba.port,
            "connection_cache": self._connections,
        }

    def _path(self, path: str) -> str:
        below = path.replace("/", "\\")
        return rf"\\{self._samba.host}\{self._samba.share}\{below}"

    def write(self, path: str, content: bytes, mode: str = "wb") -> None:
        """``mode`` as for ``open``. Returns once the server has closed it."""
        with smbclient.open_file(
            self._path(path), mode=mode, share_access="rwd", **self._more
        ) as file:
            file.write(content)

    def read(self, path: str) -> bytes:
        """The whole content."""
        with smbclient.open_file(
            self._path(path), mode="rb", share_access="rwd", **self._more
        ) as file:
            content: bytes = file.read()
            return content

    def remove(self, path: str) -> None:
        """A file."""
        smbclient.remove(self._path(path), **self._more)

    def rename(self, path: str, to: str) -> None:
        """``to`` must not exist."""
        smbclient.rename(self._path(path), self._path(to), **self._more)

    def mkdir(self, path: str) -> None:
        """A directory."""
        smbclient.mkdir(self._path(path), **self._more)

    def close(self) -> None:
        """Log off."""
        smbclient.reset_connection_cache(connection_cache=self._connections)


@contextmanager
def second_client(samba: PrivateSamba) -> Iterator[SecondClient]:
    """One that is logged off at the end."""
    client = SecondClient(samba)
    try:
        yield client
    finally:
        client.close()
