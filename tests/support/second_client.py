"""Another SMB client of the same share: smbprotocol's own, in this process."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import smbclient
from smbprotocol.exceptions import SMBOSError

from netfsfuse.lab.server.samba import PrivateSamba

_DELETE_PENDING = 0xC0000056


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
        self._again(lambda: self._write(path, content, mode))

    def _write(self, path: str, content: bytes, mode: str) -> None:
        with smbclient.open_file(
            self._path(path), mode=mode, share_access="rwd", **self._more
        ) as file:
            file.write(content)

    @staticmethod
    def _again(action: Callable[[], object]) -> None:
        """Once more while a handle of somebody's keeps a deleted file's name: a program's close is
        over before its mount has closed the file."""
        for attempt in range(100):
            try:
                action()
            except SMBOSError as error:
                if error.ntstatus != _DELETE_PENDING or attempt == 99:
                    raise
                time.sleep(0.01)
            else:
                return

    def read(self, path: str) -> bytes:
        """The whole content."""
        with smbclient.open_file(
            self._path(path), mode="rb", share_access="rwd", **self._more
        ) as file:
            content: bytes = file.read()
            return content

    def remove(self, path: str) -> None:
        """A file."""
        self._again(lambda: smbclient.remove(self._path(path), **self._more))

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
