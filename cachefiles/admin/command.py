"""The administrator's command: ``python -m cachefiles --cachedir DIR COMMAND``.

Works on a cache in use; never makes one. :func:`build` makes the group of commands, for a program
that has a default directory, knows what its coherency bytes say, or can resolve names of its own.
"""

from __future__ import annotations

import json
import os
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import click

from cachefiles.admin import report
from cachefiles.admin.survey import Listed, folders, listed, opened
from cachefiles.admin.verification import verify
from cachefiles.backing import Filesystem
from cachefiles.cache import VERSION, Cache, read_version
from cachefiles.cull import Culler, Step
from cachefiles.errors import CacheError, translated
from cachefiles.folder import PINNED_XATTR, Doomed, Folder
from cachefiles.limits import Excess

_BUSY_TIMEOUT = 3.0  # seconds to wait for another culler


@dataclass(frozen=True, slots=True)
class Knowledge:
    """What the program around adds: where the cache is, what coherency bytes say (lines), and
    which object a name of its own means (the object's name, or the text itself)."""

    directory: Callable[[], Path] | None = None
    describe: Callable[[bytes], list[str]] = lambda raw: [raw.hex()]
    resolve: Callable[[str], str] = lambda text: text


def build(knowledge: Knowledge, name: str) -> click.Group:
    """The group ``name``."""

    @click.group(name, context_settings={"help_option_names": ["-h", "--help"]})
    @click.option(
        "--cachedir",
        type=Path,
        required=knowledge.directory is None,
        help="The cache's directory." + ("" if knowledge.directory is None else " Default: yours."),
    )
    @click.pass_context
    def group(context: click.Context, cachedir: Path | None) -> None:
        """Look at a cache and manage it, also while mounts use it."""
        if cachedir is None:
            assert knowledge.directory is not None
            cachedir = knowledge.directory()
        context.obj = _Session(cachedir.absolute(), knowledge)

    for command in (
        list_command,
        show_command,
        verify_command,
        cull_command,
        drop_command,
        pin_command,
        unpin_command,
        stats_command,
    ):
        group.add_command(command)
    return group


@dataclass(frozen=True, slots=True)
class _Session:
    """One invocation."""

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
            names = [text for text, meant in resolved.items() if each.answers_to(meant)]
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
def _folder(cache: Cache, volume: str) -> Iterator[tuple[Folder, bytes]]:
    for fd, name, key in folders(cache):
        if name == volume:
            yield Folder(cache.filesystem, fd, cache.graveyard), key
            return
    raise click.ClickException("it is gone meanwhile")


_SORTS: dict[str, Callable[[Listed], object]] = {
    "path": lambda each: (each.volume, each.path),
    "size": lambda each: each.size,
    "stored": lambda each: each.stored,
    "used": lambda each: each.used,
}


@click.command("list")
@click.argument("names", metavar="[PATH|VOLUME]...", nargs=-1)
@click.option(
    "--sort", type=click.Choice(sorted(_SORTS)), help="Default: as they are met, at once."
)
@click.option("--reverse", is_flag=True, help="The other way round.")
@click.option("--json", "as_json", is_flag=True, help="A JSON object per line.")
@click.pass_obj
def list_command(
    session: _Session, names: tuple[str, ...], sort: str | None, reverse: bool, as_json: bool
) -> None:
    """List what is cached: volume, path, size, stored, last used, pinned."""
    with session.cache() as cache:
        found = listed(cache)
        if names:
            found = (each for each in found if any(map(each.answers_to, names)))
        if sort is not None:
            found = iter(sorted(found, key=_SORTS[sort], reverse=reverse))  # type: ignore[arg-type]
        elif reverse:
            found = reversed(list(found))
        try:
            for each in found:
                click.echo(json.dumps(report.as_dict(each)) if as_json else report.line(each))
        except BrokenPipeError:  # "| head" has seen enough
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


@click.command("show")
@click.argument("name", metavar="PATH-OR-OBJECT")
@click.pass_obj
def show_command(session: _Session, name: str) -> None:
    """Show one object: a map of what is stored, its coherency, and what is wrong with it."""
    with session.cache() as cache:
        found = session.select(cache, (name,))
        exact = [each for each in found if each.path == name.strip("/")] or found
        if len(exact) > 1:
            some = ", ".join(f"{each.volume}/{each.path}" for each in exact[:3])
            raise click.ClickException(f"{name} means {len(exact)} objects: {some} ...")
        chosen = exact[0]
        with (
            _folder(cache, chosen.volume_name) as (folder, key),
            translated("reading the cache"),
        ):
            path = f"{chosen.name[:2]}/{chosen.name}"
            files = opened(folder.fd, chosen.volume_name, key, path)
            try:
                for text in report.details(chosen, files, session.knowledge.describe):
                    click.echo(text)
            finally:
                files.close()


@click.command("verify")
@click.argument("names", metavar="[PATH|VOLUME]...", nargs=-1)
@click.option("--repair", is_flag=True, help="Forget what is wrong, so that it is fetched again.")
@click.pass_obj
def verify_command(session: _Session, names: tuple[str, ...], repair: bool) -> None:
    """Check every stored block against its checksum."""
    with session.cache() as cache:
        chosen = {(each.volume_name, each.name) for each in session.select(cache, names)}

        def wanted(volume: str, name: str) -> bool:
            return not names or (volume, name) in chosen

        def tell(text: str) -> None:
            click.echo(report.printable(text))

        with report.bar("verifying", max(0, cache.space.count().used)) as advance:
            verdict = verify(cache, wanted, tell, advance, repair=repair)
        click.echo(
            f"{verdict.objects} objects, {verdict.blocks} blocks: {verdict.bad} bad"
            + (f", {verdict.mended} repaired" if repair else "")
            + (f", {verdict.unknown} objects cannot be verified" if verdict.unknown else "")
        )
        if verdict.bad > verdict.mended:
            raise click.exceptions.Exit(1)


@click.command("cull")
@click.option("--to", "size", metavar="SIZE", help="Until the cache takes SIZE at most (100M, 2G).")
@click.pass_obj
def cull_command(session: _Session, size: str | None) -> None:
    """Let the least recently used go, down to the disk's limits or to SIZE."""
    limit = None if size is None else report.parse_size(size)
    with session.cache() as cache:

        def excess() -> Excess:
            if limit is None:
                return cache.space.excess()
            count = cache.space.count()
            return Excess(max(0, count.used - limit))

        culler = Culler(cache, excess, recount=True)
        before = max(0, cache.space.count().used)
        with report.bar("culling", max(0, before - (limit or 0))) as advance:
            step, done = Step.MORE, 0
            until = time.monotonic() + _BUSY_TIMEOUT
            while step in (Step.MORE, Step.BUSY):
                step = culler.step(0.2)
                if step is Step.BUSY:
                    if time.monotonic() >= until:
                        raise click.ClickException("a mount is culling this cache; try again")
                    time.sleep(0.05)
                advance(culler.freed - done)
                done = culler.freed
        click.echo(
            f"freed {report.size(culler.freed)}, {culler.gone} objects; "
            f"{report.size(max(0, cache.space.count().used))} remain"
        )
        if step is Step.STUCK:
            raise click.ClickException("what remains is pinned or in use")


@click.command("drop")
@click.argument("names", metavar="[PATH|VOLUME]...", nargs=-1)
@click.option("--all", "everything", is_flag=True, help="All objects that are not pinned.")
@click.option("--pinned", is_flag=True, help="With --all: those that are, too.")
@click.pass_obj
def drop_command(session: _Session, names: tuple[str, ...], everything: bool, pinned: bool) -> None:
    """Drop files, folders or volumes from the cache. Who is reading one reads on."""
    if bool(names) == everything:
        raise click.UsageError("name what to drop, or --all")
    with session.cache() as cache:
        chosen = session.select(cache, names)
        count = freed = kept = 0
        for fd, volume, _ in folders(cache):
            folder = Folder(cache.filesystem, fd, cache.graveyard)
            for each in listed(cache) if everything else chosen:
                if each.volume_name != volume:
                    continue
                if everything and each.pinned and not pinned:
                    kept += 1
                    continue
                doomed = Doomed()
                try:
                    with translated("dropping a cached file"), folder.alone():
                        folder.bury(f"{each.name[:2]}/{each.name}", doomed)
                finally:
                    freed += folder.put_away(doomed)
                count += 1
        click.echo(
            f"dropped {count} objects, {report.size(freed)}"
            + (f"; {kept} pinned ones stay (--pinned drops them)" if kept else "")
        )


def _set_pin(session: _Session, names: tuple[str, ...], *, pin: bool) -> None:
    with session.cache() as cache:
        count = 0
        for each in session.select(cache, names):
            path = f"{each.volume_name}/{each.name[:2]}/{each.name}"
            where = cache.directory / "volumes" / path
            with translated("pinning a cached file"):
                try:
                    if pin:
                        os.setxattr(where, PINNED_XATTR, b"1", follow_symlinks=False)
                    elif each.pinned:
                        os.removexattr(where, PINNED_XATTR, follow_symlinks=False)
                except FileNotFoundError:
                    continue
            count += 1
        click.echo(f"{'pinned' if pin else 'unpinned'} {count} objects")


@click.command("pin")
@click.argument("names", metavar="PATH|VOLUME...", nargs=-1, required=True)
@click.pass_obj
def pin_command(session: _Session, names: tuple[str, ...]) -> None:
    """Keep files, or all below a folder, from being culled."""
    _set_pin(session, names, pin=True)


@click.command("unpin")
@click.argument("names", metavar="PATH|VOLUME...", nargs=-1, required=True)
@click.pass_obj
def unpin_command(session: _Session, names: tuple[str, ...]) -> None:
    """Let them be culled again."""
    _set_pin(session, names, pin=False)


@click.command("stats")
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
@click.pass_obj
def stats_command(session: _Session, as_json: bool) -> None:
    """Sum it all up."""
    with session.cache() as cache:
        totals: dict[str, object] = {"cachedir": str(cache.directory)}
        objects = stored = size = pinned = pinned_bytes = 0
        volumes: set[str] = set()
        oldest, newest = 2**63, 0
        for each in listed(cache):
            objects += 1
            stored += each.stored
            size += each.size
            volumes.add(each.volume)
            oldest, newest = min(oldest, each.used), max(newest, each.used)
            if each.pinned:
                pinned += 1
                pinned_bytes += each.stored
        count = cache.space.count()
        disk = os.statvfs(cache.directory)
        totals |= {
            "volumes": len(volumes),
            "objects": objects,
            "size": size,
            "stored": stored,
            "counted": count.used + count.aside,
            "pinned": pinned,
            "pinned_stored": pinned_bytes,
            "oldest": report.when(oldest) if objects else None,
            "newest": report.when(newest) if objects else None,
            "disk_total": disk.f_blocks * disk.f_frsize,
            "disk_free": disk.f_bavail * disk.f_frsize,
        }
        click.echo(json.dumps(totals, indent=2) if as_json else report.table(totals))


def main(arguments: list[str] | None = None) -> None:
    """``python -m cachefiles``: 0 done, 1 failed, 2 wrong usage, 130 interrupted."""
    group = build(Knowledge(), "cachefiles")
    try:
        status = group.main(arguments, prog_name="cachefiles", standalone_mode=False)
        sys.stdout.flush()
        sys.exit(status if isinstance(status, int) else 0)
    except click.UsageError as error:
        click.echo(report.printable(f"cachefiles: {error.format_message()}"), err=True)
        sys.exit(2)
    except click.ClickException as error:
        click.echo(report.printable(f"cachefiles: {error.format_message()}"), err=True)
        sys.exit(1)
    except (CacheError, OSError) as error:
        click.echo(report.printable(f"cachefiles: {error}"), err=True)
        sys.exit(1)
    except (KeyboardInterrupt, click.Abort):
        click.echo("cachefiles: interrupted", err=True)
        sys.exit(130)
