"""One invocation of the administrator's command: which cache, and which objects its words mean."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import click

from cachefiles.admin.survey import Listed, folders, listed
from cachefiles.backing import Filesystem
from cachefiles.cache import VERSION, Cache, read_version
from cachefiles.errors import CacheError
from cachefiles.folder import Folder


@dataclass(frozen=True, slots=True)
class Knowledge:
    """What the program around adds: where the cache is, what coherency bytes say (lines), which
    object a name of its own means (the object's name, or the text itself), and by which names it
    calls the volume whose key is the text, that text among them."""

    directory: Callable[[], Path] | None = None
    describe: Callable[[bytes], list[str]] = lambda raw: [raw.hex()]
    resolve: Callable[[str], str] = lambda text: text
    volume_names: Callable[[str], list[str]] = lambda volume: [volume]


@dataclass(frozen=True, slots=True)
class Session:
    """One invocation: the cache in ``directory`` as ``knowledge`` says its names."""

    directory: Path
    knowledge: Knowledge

    @contextmanager
    def cache(self) -> Iterator[Cache]:
        """The cache, bound meanwhile; what goes wrong with it is one line."""
        try:
            if not os.path.lexists(self.directory):
                raise click.ClickException(f"{self.directory} does not exist")
            version = _version_in(self.directory)
            if not version:
                raise click.ClickException(f"{self.directory} holds no cache")
            if version != VERSION:
                raise click.ClickException(f"{self.directory} holds a cache of another format")
            cache = Cache.bind(self.directory)
        except PermissionError:
            raise click.ClickException(f"{self.directory} belongs to another user") from None
        except CacheError as error:
            raise click.ClickException(str(error)) from None
        try:
            yield cache
        except CacheError as error:
            raise click.ClickException(str(error)) from None
        finally:
            cache.close()

    def select(self, cache: Cache, texts: tuple[str, ...]) -> list[Listed]:
        """The objects that ``texts`` name; each must name one at least."""
        if not texts:
            return []
        resolved = {text: self.knowledge.resolve(text) for text in texts}
        met: set[str] = set()
        found = []
        for each in listed(cache):
            volumes = self.knowledge.volume_names(each.volume)
            names = [text for text, meant in resolved.items() if each.answers_to(meant, volumes)]
            met.update(names)
            if names:
                found.append(each)
        for text in texts:
            if text not in met:
                raise click.ClickException(f"nothing in the cache is called {text}")
        return found


def _version_in(directory: Path) -> bytes:
    """What the directory says of its format; b"" for what is no directory or says nothing."""
    filesystem = Filesystem()
    try:
        top = filesystem.open_folder(os.fspath(directory))
        try:
            return read_version(filesystem, top)
        finally:
            filesystem.close(top)
    except PermissionError:
        raise
    except OSError:
        return b""


@contextmanager
def volume_folder(cache: Cache, volume: str) -> Iterator[tuple[Folder, bytes]]:
    """The directory of the volume named ``volume``, and its key, good for the body."""
    for fd, name, key in folders(cache):
        if name == volume:
            yield Folder(cache.filesystem, fd, cache.graveyard), key
            return
    raise click.ClickException("it is gone meanwhile")
