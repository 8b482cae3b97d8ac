"""Where the data comes from: a private server with files made for it, or a share that was given."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from netfsfuse.lab.bench import pages
from netfsfuse.lab.bench.errors import NotHere
from netfsfuse.lab.bench.plan import MIB
from netfsfuse.lab.bench.target import Target
from netfsfuse.lab.server import data
from netfsfuse.lab.server.samba import PrivateSamba


@dataclass(frozen=True, slots=True)
class ServedFile:
    """A file of the share. ``size`` of it is read; ``whole`` is how large it is, in bytes.

    ``path`` is where the server keeps it, where that is this machine. ``copy`` is a local file with
    the right bytes, if there is one.
    """

    name: str
    size: int
    whole: int
    path: Path | None = None
    copy: Path | None = None

    def warm(self) -> None:
        """Bring it into the server's page cache, so that no disk of the server is measured."""
        if self.path is not None:
            pages.warm(self.path)


class Serving(Protocol):
    """What the works need of a server. Anything that it has not raises :class:`NotHere`."""

    def target(self, protection: str = "") -> Target:
        """The share, of a server that demands ``signed`` or ``encrypted`` messages."""

    def file(self, size: int) -> ServedFile:
        """A file of which ``size`` bytes, or all that it has, are to be read."""

    def files(self, purpose: str, count: int, size: int) -> list[ServedFile]:
        """``count`` different files of ``size`` bytes, the same ones for the same words."""

    def place(self, name: str) -> Path:
        """Where the server keeps what a run writes to the share under ``name``; the run removes
        it."""

    def tree(self, directories: int, files: int) -> str:
        """The name of a directory with ``directories`` of ``files`` of 4 KiB each."""


_DEMANDS: Mapping[str, Mapping[str, str]] = {
    "": {},
    "signed": {"server signing": "mandatory"},
    "encrypted": {"smb encrypt": "required"},
}


class PrivateServing:
    """Our own smbd on loopback, one for each protection, all of one folder below ``folder``.

    Files are made once for each size, from random data that nothing can compress. Servers end with
    ``stack``; the folder is the caller's to remove. ``options`` are for mounts of ours,
    ``samba_options`` for the servers.
    """

    def __init__(
        self,
        folder: Path,
        stack: ExitStack,
        options: Sequence[str] = (),
        samba_options: Mapping[str, str] | None = None,
    ) -> None:
        self._share = folder / "share"
        self._share.mkdir()
        self._stack = stack
        self._options = tuple(options)
        self._samba_options = dict(samba_options or {})
        self._servers: dict[str, PrivateSamba] = {}

    def target(self, protection: str = "") -> Target:
        server = self._servers.get(protection)
        if server is None:
            server = self._servers[protection] = PrivateSamba(
                {**self._samba_options, **_DEMANDS[protection]},
                shares={PrivateSamba.share: {"path": str(self._share)}},
                base=self._share.parent,
            )
            self._stack.callback(server.stop)
            server.start()
        return Target(
            server.host,
            server.port,
            server.share,
            server.username,
            server.password,
            options=self._options,
        )

    def file(self, size: int) -> ServedFile:
        return self._made(f"big-{size // 1024}K", size)

    def files(self, purpose: str, count: int, size: int) -> list[ServedFile]:
        return [self._made(f"{purpose}-{size // 1024}K-{n}", size) for n in range(count)]

    def place(self, name: str) -> Path:
        return self._share / name

    def tree(self, directories: int, files: int) -> str:
        name = f"tree-{directories}-{files}"
        path = self._share / name
        if not path.exists():
            unready = path.with_suffix(".part")
            data.write_even_tree(unready, directories, files)
            unready.rename(path)
        return name

    def _made(self, name: str, size: int) -> ServedFile:
        path = self._share / name
        if not path.exists():
            unready = path.with_suffix(".part")
            data.write_file(unready, size, name)
            unready.rename(path)
        return ServedFile(name, size, size, path, path)


class GivenServing:
    """A share that the user named, with one big file on it. Nothing is ever written there.

    ``copy`` is a local copy of the file by another client, for comparison, or None.
    """

    def __init__(self, target: Target, name: str, whole: int, copy: Path | None) -> None:
        self._target = target
        self._name = name
        self._whole = whole
        self._copy = copy

    def target(self, protection: str = "") -> Target:
        if protection:
            raise NotHere("needs the private server, which can be told to demand it")
        return self._target

    def file(self, size: int) -> ServedFile:
        return ServedFile(self._name, min(size, self._whole), self._whole, copy=self._copy)

    def files(self, purpose: str, count: int, size: int) -> list[ServedFile]:
        raise NotHere("needs several files, and so the private server")

    def place(self, name: str) -> Path:
        raise NotHere("writes, and so needs the private server")

    def tree(self, directories: int, files: int) -> str:
        raise NotHere("needs a tree of its own, and so the private server")


def whole_mebibytes(size: int) -> int:
    """``size`` in MiB, rounded up: what ``dd bs=1M`` counts in."""
    return -(-size // MIB)
